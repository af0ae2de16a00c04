"""One sitting of a listening test: what the page is told of it, its sounds under names that say nothing, its answers.

The page gets texts and sounds; which voice a sound is, and which trials are catch trials, stays here.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from timbre.core.errors import DataError
from timbre.core.records import SPOILT, TRUE
from timbre.editing.owned_files import one_editor
from timbre.project import opinions
from timbre.project.listening_tests import ListeningScreen, ListeningTest, Stimulus, answers_to
from timbre.web.compare.matched_sounds import matched

QUESTIONS = {
    "ab": "Which of the two would you rather hear as this speaker?",
    "abx": "Which of the two is X?",
    "rating": "How close does each come to the recording of the speaker?",
}
LONGEST = 86_400.0  # seconds for an answer; what is no number counts as 0


@dataclass
class Sitting:
    test: ListeningTest
    content: Callable[[str], bytes]  # name of a sound → the file
    speaker: str | None = None  # name of a clip of the speaker, to be heard beside `ab`
    listener: str = ""
    answered: set[int] = field(default_factory=set)
    _sounds: dict[str, bytes] = field(default_factory=dict)
    _screens: dict[int, dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # the page's requests come in threads

    def overview(self) -> dict[str, Any]:
        return {
            "test": self.test.id,
            "kind": self.test.kind,
            "question": QUESTIONS[self.test.kind],
            "screens": len(self.test.screens),
            "answered": sorted(self.answered),
            "listener": self.listener,
        }

    def screen(self, number: int) -> dict[str, Any]:
        """Its text and the names of its sounds, which are made when it is first asked for."""
        if not 1 <= number <= len(self.test.screens):
            raise DataError(f"there is no trial {number}")
        with self._lock:
            if number not in self._screens:
                self._screens[number] = self._made(self.test.screens[number - 1])
        return {"number": number, **self._screens[number]}

    def sound(self, name: str) -> bytes | None:
        return self._sounds.get(name)

    def answer(self, number: int, answer: str, seconds: float) -> int:
        """Keep it in the listener's file; how many are left."""
        rows = answers_to(self.test, number, answer, max(0.0, min(seconds, LONGEST)))
        with self._lock, one_editor():
            if number in self.answered:
                raise DataError(f"trial {number} has an answer already")
            opinions.add(self.listener, rows)
            self.answered.add(number)
        return len(self.test.screens) - len(self.answered)

    def _made(self, screen: ListeningScreen) -> dict[str, Any]:
        stimuli = list(screen.stimuli)
        reference = self._reference(screen)
        heard = [*stimuli, *([reference] if reference else [])]
        files = matched([(self.content(one.sound), one.voice == SPOILT) for one in heard])
        names = [secrets.token_hex(8) for _ in files]
        self._sounds |= dict(zip(names, files, strict=True))
        return {
            "kind": screen.kind,
            "text": screen.text,
            "sounds": names[: len(stimuli)],
            "reference": names[-1] if reference else None,
        }

    def _reference(self, screen: ListeningScreen) -> Stimulus | None:
        """X, the true recording, or a clip of the speaker."""
        if screen.kind == "abx":
            return screen.stimuli[0 if screen.hidden == "first" else 1]
        if screen.kind == "rating":
            return next(one for one in screen.stimuli if one.voice == TRUE)
        return Stimulus(TRUE, self.speaker) if self.speaker else None
