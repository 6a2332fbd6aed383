"""Healthcheck of the pipeline API: healthy once it can answer, which needs its VLM server too."""

import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen("http://127.0.0.1:8080/health/ready", timeout=8)
except urllib.error.HTTPError as failure:
    sys.exit(failure.read().decode(errors="replace"))
except OSError as failure:
    sys.exit(f"the pipeline API does not answer: {failure}")
