"""Sizing a VLM server for a card: rules without I/O, from a stack and a profile to settings, each with its
origin.

The rules, in GiB of the card:

    layout model (where it shares the card) + reserve + program + weights + one step's working memory + KV
    cache

must fit into the card's memory. The context is what was asked for; the step starts from the profile's and is
halved until one full context has room; requests at once are 32 for each document, as far as the KV cache
holds them; the server then gets the share of the card that this comes to. What a vendor published for exactly
this card goes before the rules, as long as it fits. The figures of the model and the program are those of the
data, some of them estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from packaging.specifiers import SpecifierSet

from paddock.errors import ConfigurationError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Accelerator, Counts, Footprint, Offer, Profile, Published, Stack, Tunable

GIB = 2**30
RESERVE = 0.05  # of the memory: a display, the driver, fragmentation
STEP = 0.05  # shares are multiples of it
REQUESTS_PER_DOCUMENT = 32  # blocks of one or two pages; PaddleX has many of them under way at once
LEAST_BATCH = 2048  # tokens; the largest image has 1280
MOST_SEQUENCES = 1024  # vLLM's own largest default
_TINY = 1e-9  # so that 0.7 is not rounded to 0.65

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
class Room:
    """Where a card's memory goes, in GiB."""

    memory: float
    layout: float
    reserve: float
    program: float
    weights: float
    batch: float
    kv: float

    def __str__(self) -> str:
        return f"{self.memory:g} GiB: {self.parts()}"

    def parts(self) -> str:
        """What it goes to, in words."""
        parts = {
            "layout model": self.layout,
            "reserve": self.reserve,
            "program": self.program,
            "weights": self.weights,
            "one step": self.batch,
            "KV cache": self.kv,
        }
        return ", ".join(f"{name} {size:.1f}" for name, size in parts.items() if size)


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
        changed = {each.option: each.value for each in self.settings}
        known = self.stack.vlm.settings
        settings = FrozenDict(
            {**{name: changed.pop(name, value) for name, value in known.items()}, **changed}
        )
        server = replace(self.stack.vlm, settings=settings)
        backends = FrozenDict({**self.stack.target.backends, self.stack.backend.name: server})
        return replace(self.stack, target=replace(self.stack.target, backends=backends))


def tune(stack: Stack, profile: Profile, wish: Wish) -> Tuning:
    """Settings for `stack` on the card of `profile`. Raises ConfigurationError with the reason where it
    cannot fit.
    """
    where = f"{stack.name} on {profile.name}"
    _refuse_other_hardware(stack, profile, where)
    tuning, footprint = stack.backend.tuning, stack.model.footprint
    if tuning is None or footprint is None:
        lacking = f"backend {stack.backend.name}" if tuning is None else f"model {stack.model.name}"
        raise ConfigurationError(
            f"{where}: found no memory figures of the {lacking}, expected them",
            hint="its settings are those of its target; change them in the stack's folder",
        )
    return _Sizing(
        stack=stack, profile=profile, wish=wish, tuning=tuning, footprint=footprint, where=where
    ).result()


def shares_card(stack: Stack) -> bool:
    """Whether the layout model works on the VLM server's card: on one, and not on one of its own."""
    api = stack.target.api
    if stack.model.pipeline is None or api is None or stack.target.accelerator is Accelerator.NONE:
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
class _Sizing:
    """One application of the rules."""

    stack: Stack
    profile: Profile
    wish: Wish
    tuning: Tunable
    footprint: Footprint
    where: str

    def result(self) -> Tuning:
        context = self._context()
        room = self._room(context)
        sequences = self._sequences(context, room)
        if self._published_share is None:
            room = replace(room, kv=self._kv_wanted(sequences.value, context, room))
        share = self._share(room)
        settings = [
            *share,
            self._context_setting(context, sequences.value),
            sequences,
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

    @property
    def _memory(self) -> float:
        return self.wish.memory or self.profile.memory

    @property
    def _layout(self) -> float:
        return 0.0 if self.wish.own_card or not shares_card(self.stack) else self.footprint.layout

    def _context(self) -> int:
        longest = self.stack.model.max_context
        context = self.wish.context or longest
        if context > longest:
            raise ConfigurationError(
                f"{self.where}: found a context of {context} tokens, expected at most {longest}, the model's own limit"
            )
        if context < self.footprint.request_tokens:
            raise ConfigurationError(
                f"{self.where}: found a context of {context} tokens, expected at least "
                f"{self.footprint.request_tokens}: a large block and its answer",
            )
        return context

    def _room(self, context: int) -> Room:
        """The largest step that leaves room for one full context; `kv` is all that is left."""
        batch = float(self._first_batch())
        room = self._with_batch(batch)
        while room.kv < self._gib(context * self.footprint.kv_per_token) and batch > LEAST_BATCH:
            batch /= 2
            room = self._with_batch(batch)
        lacking = self._gib(context * self.footprint.kv_per_token) - room.kv
        if lacking > 0:
            raise self._does_not_fit(room, context, lacking)
        return room

    def _first_batch(self) -> int:
        return int(self.profile.batch.value) if self.tuning.batch else LEAST_BATCH

    def _with_batch(self, batch: float, memory: float | None = None) -> Room:
        """The room with steps of `batch` tokens; what rounding the share down loses counts as reserve."""
        memory, layout = memory or self._memory, self._layout
        program, step = self.tuning.program, self._gib(batch * self.footprint.batch_per_token)
        outside = {Counts.SERVER: 0.0, Counts.STATIC: program + step, Counts.CARD: -layout}[
            self.tuning.share_counts
        ]
        usable = memory * (1 - RESERVE) - layout
        if self._has_share:
            most = _down((usable - outside) / memory)
            published = self._published_share
            share = published.value if published is not None and published.value <= most else most
            usable = share * memory + outside
        return Room(
            memory=memory,
            layout=layout,
            reserve=memory - layout - usable,
            program=program,
            weights=self.footprint.weights,
            batch=step,
            kv=usable - program - self.footprint.weights - step,
        )

    @property
    def _has_share(self) -> bool:
        return self.tuning.share is not None and self.stack.target.accelerator is not Accelerator.NONE

    @property
    def _published_share(self) -> Published | None:
        """What a vendor gives the server on this card; alone on it, unless the layout model was there, too."""
        found = self._of_profile(self.tuning.share or "")
        return found if found is not None and (found.beside_layout or not self._layout) else None

    def _least_memory(self, needed: float) -> int:
        """The least whole GiB with room for a KV cache of `needed`; it exists, for the room grows with the
        memory.
        """
        memory = math.ceil(self._memory)
        while self._with_batch(LEAST_BATCH, memory).kv < needed:
            memory += 1
        return memory

    def _does_not_fit(self, room: Room, context: int, lacking: float) -> ConfigurationError:
        shown = replace(room, kv=self._gib(context * self.footprint.kv_per_token))
        least = self._least_memory(shown.kv)
        shared = "; with the layout model on another card: --own-card" if room.layout else ""
        return ConfigurationError(
            f"{self.where}: found {room.memory:g} GiB, expected at least {lacking:.1f} more for {shown.parts()}",
            hint=f"take a card with {least} GB or more, or a shorter --context" + shared,
        )

    def _sequences(self, context: int, room: Room) -> _Count:
        wanted = self.wish.concurrency * (1 if self.tuning.context_of_all else REQUESTS_PER_DOCUMENT)
        fits = math.floor(room.kv / self._gib(self._tokens_of_one(context) * self.footprint.kv_per_token))
        unit = "a full context" if self.tuning.context_of_all else f"{REQUESTS_PER_DOCUMENT} requests"
        limits = [
            (wanted, f"{unit} for each of {self.wish.concurrency} documents"),
            (MOST_SEQUENCES, "vLLM's own largest default"),
        ]
        if self._published_share is None or self._of_profile(self.tuning.sequences) is None:
            limits.append((max(fits, 1), f"what the KV cache of {room.kv:.1f} GiB holds"))
        if self.tuning.most_sequences:
            limits.append(
                (self.tuning.most_sequences, f"the most that {self.stack.backend.description} allows")
            )
        for published in (self.profile.most_sequences, self._of_profile(self.tuning.sequences)):
            if published is not None:
                limits.append((int(published.value), published.origin))
        value, origin = min(limits, key=lambda limit: limit[0])
        return _Count(option=self.tuning.sequences, value=value, origin=origin)

    def _tokens_of_one(self, context: int) -> int:
        return context if self.tuning.context_of_all else min(self.footprint.request_tokens, context)

    def _kv_wanted(self, sequences: int, context: int, room: Room) -> float:
        tokens = max(sequences * self._tokens_of_one(context), context)
        return min(self._gib(tokens * self.footprint.kv_per_token), room.kv)

    def _context_setting(self, context: int, sequences: int) -> Setting:
        longest = self.stack.model.max_context
        origin = "--context" if self.wish.context else f"the model's own limit, {longest} tokens"
        if self.tuning.context_of_all:
            return Setting(
                option=self.tuning.context, value=context * sequences, origin=f"{sequences} x {origin}"
            )
        return Setting(option=self.tuning.context, value=context, origin=origin)

    def _batch_setting(self, room: Room) -> Iterator[Setting]:
        """Only where the target sets one: else the server's own default is what its vendor runs."""
        option = self.tuning.batch
        if option is None or option not in self.stack.vlm.settings:
            return
        batch = round(room.batch * GIB / self.footprint.batch_per_token)
        whole = batch == self._first_batch()
        origin = (
            self.profile.batch.origin if whole else f"half of {2 * batch} until one full context has room"
        )
        yield Setting(option=option, value=batch, origin=origin)

    def _share(self, room: Room) -> Iterator[Setting]:
        """The share that the plan comes to, rounded up; at most what the others on the card leave."""
        option = self.tuning.share
        if option is None or not self._has_share:
            return
        usable = room.memory - room.layout - room.reserve
        counted, most = {
            Counts.SERVER: (room.program + room.weights + room.batch + room.kv, usable),
            Counts.STATIC: (room.weights + room.kv, usable - room.program - room.batch),
            Counts.CARD: (
                room.program + room.weights + room.batch + room.kv + room.layout,
                usable + room.layout,
            ),
        }[self.tuning.share_counts]
        most = _down(most / room.memory)
        published = self._of_profile(option)
        if published is not None and self._published_share is published and published.value <= most + _TINY:
            yield Setting(option=option, value=float(published.value), origin=published.origin)
            return
        origin = f"{counted:.1f} of {room.memory:g} GiB"
        if published is not None:
            others = "" if published.beside_layout else ", without a layout model on the card"
            origin += f" ({published.origin}: {published.value:g}{others})"
        yield Setting(option=option, value=min(_up(counted / room.memory), most), origin=origin)

    def _of_profile(self, option: str) -> Published | None:
        return self.profile.settings.get(self.stack.backend.name, {}).get(option)

    def _offers(self) -> Iterator[Offer]:
        capability = self.profile.compute_capability
        for offer in self.tuning.offers:
            wanted = offer.compute_capability
            if not (capability and wanted) or SpecifierSet(wanted).contains(capability):
                yield offer

    def _notes(self, sequences: int, room: Room) -> Iterator[str]:
        wanted = self.wish.concurrency * (1 if self.tuning.context_of_all else REQUESTS_PER_DOCUMENT)
        if sequences < min(wanted, self.tuning.most_sequences or wanted):
            yield f"{sequences} requests at once instead of {wanted}: further ones wait in the server"
        if room.layout:
            yield f"{room.layout:g} GiB are left for the layout model on the same card"
        if self.wish.memory and self.wish.memory > 1.5 * self.profile.memory:
            yield f"no profile is larger than {self.profile.name}; the rules went on from it"

    @staticmethod
    def _gib(size: float) -> float:
        return size / GIB


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count(Setting):
    """A setting whose value is a whole number."""

    value: int


def _up(share: float) -> float:
    return round(math.ceil(share / STEP - _TINY) * STEP, 2)


def _down(share: float) -> float:
    return round(math.floor(share / STEP + _TINY) * STEP, 2)
