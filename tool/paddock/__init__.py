"""paddock builds, launches and operates PaddleOCR-VL stacks with Docker Compose."""

__version__ = "0.1.0"
