"""The embedded model: PaddleOCR-VL's architecture, small enough to ship, reading plain printed Latin text.

Its vision tower is trained (`scripts/reader/`); its language model and its layout network are computed here,
number by number, and hold nothing that was learned. See docs/reference/embedded-model.md.
"""
