#!/usr/bin/env bash
# The main job, end to end: build the cpu images, have weights, start the stack, parse a document, show the Markdown.
#
# usage: demo.sh    (`make demo` sets Python and the engine up first)
# MODEL is what is served. Where no source of its weights can be reached, the embedded model takes its place, said aloud;
# WEIGHTS=test makes test weights and does not try. JOBS is how many documents are sent at a time. The stack stays up.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly target=cpu
model=${MODEL:-paddleocr-vl-1.6}
readonly sample=docs/sample/receipt.pdf out=out/demo
readonly weights=${WEIGHTS:-upstream} jobs=${JOBS:-2}
readonly no_weights=7 # exit status of `paddock models fetch` when no source gives them
export PATH="$PWD/.venv/bin:$PATH"

say() { printf '\n%s\n' "$*" >&2; }
run() { # show a command as one would type it, then run it
    printf '\n$ %s\n' "$*" >&2
    "$@"
}

run paddock build "$target"

status=0
if [[ $weights == test ]]; then
    say "Small test weights: the programs are real; what they say about a page is not."
    run paddock models make-test "$model"
else
    run paddock models fetch "$model" || status=$?
    ((status == 0 || status == no_weights)) || exit "$status"
fi
if ((status == no_weights)); then
    say "No upstream weights: the embedded model takes their place. It reads plain printed Latin text only."
    model=embedded
    run paddock models fetch "$model"
fi

run paddock render "$target" --model "$model"
run paddock up "$target" --model "$model"
run paddock parse "$sample" --output "$out" --jobs "$jobs" --force
run paddock status "$target" --model "$model"

say "The Markdown of $sample:"
find "$out" -name document.md -exec cat {} +

if [[ $model == embedded ]]; then
    say "Demo model: plain printed Latin text only; a table's text comes as lines. \`make models\` fetches upstream's weights."
elif find models -name TEST_WEIGHTS.md | grep -q .; then
    say "Made with test weights: the text above does not come from the page. \`make models\` fetches upstream's."
fi
say "The stack is up at http://127.0.0.1:${API_PORT:-8080}. Stop it with:
  .venv/bin/paddock down $target --model $model    (and the engine: make engine-stop)"
