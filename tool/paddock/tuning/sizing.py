"""Sizing a VLM server for a card: from a stack and a profile to settings, each with its origin.

The arithmetic is in `paddock.tuning.memory`. The rules: the context is what was asked for; the step starts
from the profile's and is halved until one full context has room; requests at once are 32 for each document,
as far as the KV cache holds them; the server then gets the share of the card that this comes to. What a
vendor published for exactly this card goes before the rules, as long as it fits. The figures of the model and
the program are those of the data, some of them estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from packaging.specifiers import SpecifierSet

from paddock.errors import ConfigurationError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Accelerator, Footprint, Offer, Stack, Tunable
from paddock.tuning.memory import GIB, LEAST_BATCH, Card, Room
from paddock.tuning.profiles import Profile, Published

REQUESTS_PER_DOCUMENT = 32  # blocks of one or two pages; PaddleX has many of them under way at once
MOST_SEQUENCES = 1024  # vLLM's own largest default

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is asked for. `memory` in GiB and `context` in tokens; None: the profile's, the model's."""

    concurrency: int = 8  # documents parsed at the same time
    context: int | None = None
    memory: float | None = None
    own_card: bool = False  # the VLM server shares its card with nobody


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One option of the server, and where its value comes from."""

    option: str
    value: Value
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Settings for one stack on one card. `settings` holds what changes; the target's other settings stay."""

    stack: Stack
    profile: Profile
    settings: tuple[Setting, ...]
    room: Room
    offers: tuple[Offer, ...] = ()
    notes: tuple[str, ...] = ()

    def tuned_stack(self) -> Stack:
        """The stack with these settings in place of its target's."""
        changed = {setting.option: setting.value for setting in self.settings}
        known = self.stack.vlm.settings
        settings = FrozenDict(
            {**{name: changed.pop(name, value) for name, value in known.items()}, **changed}
        )
        server = replace(self.stack.vlm, settings=settings)
        backends = FrozenDict({**self.stack.target.backends, self.stack.backend.name: server})
        return replace(self.stack, target=replace(self.stack.target, backends=backends))


def tune(stack: Stack, profile: Profile, wish: Wish) -> Tuning:
    """Settings for `stack` on the card of `profile`. Raises ConfigurationError where it cannot fit."""
    where = f"{stack.name} on {profile.name}"
    _refuse_other_hardware(stack, profile, where)
    tunable, footprint = stack.backend.tuning, stack.model.footprint
    if tunable is None or footprint is None:
        lacking = f"backend {stack.backend.name}" if tunable is None else f"model {stack.model.name}"
        raise ConfigurationError(
            f"{where}: found no memory figures of the {lacking}, expected them",
            hint="its settings are those of its target; change them in the stack's folder",
        )
    sizing = _Sizing(
        stack=stack, profile=profile, wish=wish, tunable=tunable, footprint=footprint, where=where
    )
    return sizing.result()


def shares_card(stack: Stack) -> bool:
    """Whether the layout model works on the VLM server's card: on one, and not on one of its own."""
    api = stack.api
    if api is None or stack.target.accelerator is Accelerator.NONE:
        return False
    return api.device != "cpu" and not api.devices.nodes


def _refuse_other_hardware(stack: Stack, profile: Profile, where: str) -> None:
    if profile.accelerator is not stack.target.accelerator:
        raise ConfigurationError(
            f"{where}: found a card of the kind {profile.accelerator}, expected {stack.target.accelerator}",
            hint="`paddock tune --list` shows the cards",
        )
    capability, wanted = profile.compute_capability, stack.compute_capability
    if capability and not SpecifierSet(wanted).contains(capability):
        raise ConfigurationError(
            f"{where}: found compute capability {capability}, expected {wanted}",
            hint="choose another target or backend; README.md has the table of targets",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Limit:
    """A number that something must not exceed, and why."""

    value: int
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sizing:
    """One application of the rules."""

    stack: Stack
    profile: Profile
    wish: Wish
    tunable: Tunable
    footprint: Footprint
    where: str

    def result(self) -> Tuning:
        card, context = self._card(), self._context()
        room = card.roomiest(self._first_batch(), context)
        if room.kv < card.kv(context):
            raise self._does_not_fit(card, room, context)
        sequences = self._sequences(card, room, context)
        if card.published_share is None:
            room = replace(room, kv=min(card.kv(self._tokens(sequences.value, context)), room.kv))
        settings = [
            *self._share(card, room),
            self._context_setting(context, sequences.value),
            Setting(option=self.tunable.sequences, value=sequences.value, origin=sequences.origin),
            *self._batch_setting(room),
        ]
        return Tuning(
            stack=self.stack,
            profile=self.profile,
            settings=tuple(settings),
            room=room,
            offers=tuple(self._offers()),
            notes=tuple(self._notes(sequences.value, room)),
        )

    # --- what is asked for ----------------------------------------------------------------------------------

    def _card(self) -> Card:
        shared = shares_card(self.stack) and not self.wish.own_card
        has_share = self.tunable.share is not None and self.stack.target.accelerator is not Accelerator.NONE
        published = self._published(self.tunable.share)
        if published is not None and shared and not published.beside_layout:
            published = None  # found with the server alone on the card
        return Card(
            memory=self.wish.memory or self.profile.memory,
            layout=self.footprint.layout if shared else 0.0,
            program=self.tunable.program,
            footprint=self.footprint,
            counts=self.tunable.share_counts if has_share else None,
            published_share=None if published is None else float(published.value),
        )

    def _context(self) -> int:
        longest = self.stack.model.max_context
        context = self.wish.context or longest
        if context > longest:
            raise ConfigurationError(
                f"{self.where}: found a context of {context} tokens, "
                f"expected at most {longest}, the model's own limit"
            )
        if context < self.footprint.request_tokens:
            raise ConfigurationError(
                f"{self.where}: found a context of {context} tokens, expected at least "
                f"{self.footprint.request_tokens}: a large block and its answer",
            )
        return context

    def _first_batch(self) -> int:
        return int(self.profile.batch.value) if self.tunable.batch else LEAST_BATCH

    def _wanted_sequences(self) -> int:
        return self.wish.concurrency * (1 if self.tunable.context_of_all else REQUESTS_PER_DOCUMENT)

    def _published(self, option: str | None) -> Published | None:
        """What a vendor published for an option on this card."""
        return self.profile.settings.get(self.stack.backend.name, {}).get(option or "")

    # --- the settings ---------------------------------------------------------------------------------------

    def _sequences(self, card: Card, room: Room, context: int) -> _Limit:
        """How many requests at once: the least of what is wanted, possible and published."""
        published = self._published(self.tunable.sequences)
        unit = "a full context" if self.tunable.context_of_all else f"{REQUESTS_PER_DOCUMENT} requests"
        limits = [
            _Limit(
                value=self._wanted_sequences(), origin=f"{unit} for each of {self.wish.concurrency} documents"
            ),
            _Limit(value=MOST_SEQUENCES, origin="vLLM's own largest default"),
        ]
        if card.published_share is None or published is None:
            held = max(math.floor(room.kv / card.kv(self._tokens_of_one(context))), 1)
            limits.append(_Limit(value=held, origin=f"what the KV cache of {room.kv:.1f} GiB holds"))
        if self.tunable.most_sequences:
            backend = self.stack.backend.description
            limits.append(_Limit(value=self.tunable.most_sequences, origin=f"the most that {backend} allows"))
        for most in (self.profile.most_sequences, published):
            if most is not None:
                limits.append(_Limit(value=int(most.value), origin=most.origin))
        return min(limits, key=lambda limit: limit.value)

    def _tokens_of_one(self, context: int) -> int:
        return context if self.tunable.context_of_all else min(self.footprint.request_tokens, context)

    def _tokens(self, sequences: int, context: int) -> int:
        """What the KV cache is to hold: that many requests, and one full context at least."""
        return max(sequences * self._tokens_of_one(context), context)

    def _context_setting(self, context: int, sequences: int) -> Setting:
        longest = self.stack.model.max_context
        origin = "--context" if self.wish.context else f"the model's own limit, {longest} tokens"
        if self.tunable.context_of_all:
            return Setting(
                option=self.tunable.context, value=context * sequences, origin=f"{sequences} x {origin}"
            )
        return Setting(option=self.tunable.context, value=context, origin=origin)

    def _batch_setting(self, room: Room) -> Iterator[Setting]:
        """Only where the target sets one: else the server's own default is what its vendor runs."""
        option = self.tunable.batch
        if option is None or option not in self.stack.vlm.settings:
            return
        batch = round(room.batch * GIB / self.footprint.batch_per_token)
        origin = self.profile.batch.origin
        if batch != self._first_batch():
            origin = f"half of {2 * batch} until one full context has room"
        yield Setting(option=option, value=batch, origin=origin)

    def _share(self, card: Card, room: Room) -> Iterator[Setting]:
        """The share of the card: the published one where it fits, else what the room comes to."""
        option = self.tunable.share
        if option is None or card.counts is None:
            return
        published = self._published(option)
        if published is not None and card.published_fits(room):
            yield Setting(option=option, value=float(published.value), origin=published.origin)
            return
        origin = f"{card.covered(room):.1f} of {room.memory:g} GiB"
        if published is not None:
            alone = "" if published.beside_layout else ", without a layout model on the card"
            origin += f" ({published.origin}: {published.value:g}{alone})"
        yield Setting(option=option, value=card.share(room), origin=origin)

    # --- what is said beside them ---------------------------------------------------------------------------

    def _does_not_fit(self, card: Card, room: Room, context: int) -> ConfigurationError:
        wanted = replace(room, kv=card.kv(context))
        lacking = wanted.kv - room.kv
        shared = "; with the layout model on another card: --own-card" if room.layout else ""
        return ConfigurationError(
            f"{self.where}: found {room.memory:g} GiB, "
            f"expected at least {lacking:.1f} more for {wanted.parts()}",
            hint=f"take a card with {card.least_memory(context)} GB or more, or a shorter --context{shared}",
        )

    def _offers(self) -> Iterator[Offer]:
        capability = self.profile.compute_capability
        for offer in self.tunable.offers:
            wanted = offer.compute_capability
            if not (capability and wanted) or SpecifierSet(wanted).contains(capability):
                yield offer

    def _notes(self, sequences: int, room: Room) -> Iterator[str]:
        wanted = self._wanted_sequences()
        if sequences < min(wanted, self.tunable.most_sequences or wanted):
            yield f"{sequences} requests at once instead of {wanted}: further ones wait in the server"
        if room.layout:
            yield f"{room.layout:g} GiB are left for the layout model on the same card"
        if self.wish.memory and self.wish.memory > 1.5 * self.profile.memory:
            yield f"no profile is larger than {self.profile.name}; the rules went on from it"
