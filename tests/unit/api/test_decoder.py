"""Documents as pixels: what is read is what is printed, and what is not read is named with a next step."""

from __future__ import annotations

import io
import itertools
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from pypdf import PdfWriter

import decoder
from reading import Pages, Unreadable
from samples.pictures import (
    BITS,
    COMPRESSION,
    PHOTOMETRIC,
    SAMPLES,
    SIZE,
    bars,
    page,
    pdf,
    picture,
    stream,
    tiff,
)

EXTRA, FORMAT, SUBSAMPLING, COLOURS = 338, 339, 530, 320
REAL = {FORMAT: [3]}


def opened(data: bytes, *, max_pages: int = 9, max_pixels: int = 10**6) -> Pages:
    return decoder.open_document(data, max_pages=max_pages, max_pixels=max_pixels)


def refusal(data: bytes, **limits: int) -> str:
    """Why a document is refused, when it is opened or when its first page is read."""
    with pytest.raises(Unreadable) as caught:
        opened(data, **limits).page(0)
    return str(caught.value)


def require_bars(shown: np.ndarray[Any, Any], within: int = 0) -> None:
    """Black on white, with all bars."""
    assert shown.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(shown.astype(int) - bars()[..., None]).max() <= within


def grey(depth: int, *, order: str = "<", kind: str = "u") -> bytes:
    """The bars with `depth` as white."""
    return (bars() / 255 * depth).astype(f"{order}{kind}{4 if kind == 'f' else 2}").tobytes()


def packed(bits: int) -> bytes:
    """The bars with so many bits for each pixel."""
    white = (1 << bits) - 1
    digits = "".join(f"{int(value) // 255 * white:0{bits}b}" for value in bars().reshape(-1))
    return int(digits, 2).to_bytes(len(digits) // 8)


# --- cut off ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_a_picture_that_was_cut_off_is_refused(kind: str, part: float) -> None:
    random = np.random.default_rng(7).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(random).save(written, kind)
    whole = written.getvalue()
    assert opened(whole).page(0).shape == (300, 200, 3)
    assert "Send the whole file" in refusal(whole[: int(part * len(whole))])


def test_nothing_of_another_document_is_in_its_pixels() -> None:
    """A decoder that lays a cut picture on memory of the one before shows it."""
    other = opened(picture("JPEG")).page(0)
    cut = picture("JPEG")[:-40]
    for _ in range(8):
        assert "was cut off" in refusal(cut)
    assert other.shape == (SIZE[1], SIZE[0], 3)


def test_a_jpeg_whose_rest_was_never_written_is_refused() -> None:
    whole = picture("JPEG")
    assert "ends in zeros" in refusal(whole[:-40] + bytes(4000))
    require_bars(opened(whole + bytes(4000)).page(0), within=60)


@pytest.mark.parametrize("compression", ["group3", "group4", "jpeg", "tiff_lzw", "tiff_adobe_deflate", "raw"])
def test_a_tiff_whose_strip_is_cut_off_says_how_much_is_missing(compression: str) -> None:
    image = Image.fromarray(bars()).convert("1" if compression.startswith("group") else "L")
    written = io.BytesIO()
    image.save(written, "TIFF", compression=compression)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(written.getvalue())) as whole:
        tags = {tag: whole.tag_v2[tag] for tag in (BITS, PHOTOMETRIC, COMPRESSION)}
        strip = written.getvalue()[whole.tag_v2[273][0] :][: whole.tag_v2[279][0]]
    tags = {tag: [value] if isinstance(value, int) else value for tag, value in tags.items()}
    told = refusal(tiff((strip, tags), cut=len(strip) // 2))
    assert f"{len(strip) // 2} bytes of it are missing" in told


def test_a_pdf_that_was_cut_off_is_refused() -> None:
    whole = page("/MediaBox[0 0 200 100]")
    assert opened(whole).page(0).shape == (200, 400, 3)
    assert "was cut off" in refusal(whole[: whole.index(b"endstream")])


def test_what_pdfium_opens_is_read_without_its_end() -> None:
    whole = page("/MediaBox[0 0 200 100]")
    assert opened(whole[: whole.index(b"startxref")]).page(0).min() == 0
    assert opened(whole.replace(b"startxref", b"startxxxx")).page(0).min() == 0


# --- transparency -------------------------------------------------------------------------------------------


def transparent(mode: str, kind: str) -> bytes:
    """The bars on nothing."""
    image = Image.new("RGBA", SIZE)
    image.putalpha(Image.fromarray(255 - bars()))
    written = io.BytesIO()
    if mode == "P":
        flat = Image.fromarray(np.minimum(255 - bars(), 1)).convert("P")
        flat.putpalette([0, 0, 0, 0, 0, 0])
        flat.save(written, kind, transparency=0)
    else:
        image.convert(mode).save(written, kind)
    return written.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "TIFF"), ("LA", "TIFF")]
)
def test_what_is_transparent_is_white(mode: str, kind: str) -> None:
    require_bars(opened(transparent(mode, kind)).page(0))


def test_premultiplied_alpha_is_white_too() -> None:
    alpha = 255 - bars()
    strip = np.stack([np.zeros_like(alpha)] * 3 + [alpha], axis=-1).tobytes()
    form = {BITS: [8] * 4, PHOTOMETRIC: [2], SAMPLES: [4], EXTRA: [1]}
    require_bars(opened(tiff((strip, form))).page(0))
    strip = np.stack([np.zeros_like(alpha), alpha], axis=-1).tobytes()
    require_bars(opened(tiff((strip, {BITS: [8] * 2, PHOTOMETRIC: [1], SAMPLES: [2], EXTRA: [1]}))).page(0))


# --- depths and colours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12])
@pytest.mark.parametrize("order", "<>")
def test_few_bits(bits: int, order: str) -> None:
    data = tiff((packed(bits), {BITS: [bits], PHOTOMETRIC: [1]}), order=order)
    if (bits, order) == (12, ">"):
        assert "12 bits for each colour" in refusal(data)
        assert "`convert in.tif" in refusal(data)
    else:
        require_bars(opened(data).page(0))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_white_may_be_zero(bits: int) -> None:
    strip = bytes(255 - byte for byte in packed(bits))
    require_bars(opened(tiff((strip, {BITS: [bits], PHOTOMETRIC: [0]}))).page(0))


@pytest.mark.parametrize("depth", [1023, 4095, 16383, 65535])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("pages", [1, 2])
def test_sixteen_bits_are_scaled_by_what_they_use(depth: int, order: str, pages: int) -> None:
    one = (grey(depth, order=order), {BITS: [16], PHOTOMETRIC: [1]})
    read = opened(tiff(*[one] * pages, order=order))
    assert len(read.sizes) == pages
    for number in range(pages):
        require_bars(read.page(number))


@pytest.mark.parametrize("depth", [1, 255, 65535, 100_000])
@pytest.mark.parametrize("pages", [1, 2])
def test_real_numbers_are_scaled(depth: int, pages: int) -> None:
    one = (grey(depth, kind="f"), {BITS: [32], PHOTOMETRIC: [1], **REAL})
    read = opened(tiff(*[one] * pages))
    for number in range(pages):
        require_bars(read.page(number))


def test_real_numbers_that_are_none() -> None:
    strip = np.where(bars() > 0, np.float32(1), np.float32("nan")).astype("<f4").tobytes()
    require_bars(opened(tiff((strip, {BITS: [32], PHOTOMETRIC: [1], **REAL}))).page(0))
    nothing = np.full(SIZE, np.float32("nan")).astype("<f4").tobytes()
    assert "no number that is finite" in refusal(tiff((nothing, {BITS: [32], PHOTOMETRIC: [1], **REAL})))


def test_forms_of_numbers_that_are_not_read_are_named() -> None:
    half = bars().astype("<f2").tobytes()
    told = refusal(tiff((half, {BITS: [16], PHOTOMETRIC: [1], **REAL})))
    assert "16 bits for each colour (real numbers)" in told
    assert "`convert in.tif" in told


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_both_orders_and_big_tiffs(order: str, big: bool) -> None:
    pages = [(packed(8), {BITS: [8], PHOTOMETRIC: [1]})] * 3
    data = tiff(*pages, order=order, big=big)
    if big and order == ">":  # Pillow reads none
        assert "`tiffcp -L in.tif out.tif`" in refusal(data)
        return
    read = opened(data)
    assert read.sizes == [SIZE] * 3
    require_bars(read.page(2))


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("LAB", "TIFF"), ("YCbCr", "JPEG")]
)
def test_colours_of_print_and_film(mode: str, kind: str) -> None:
    if mode == "LAB":
        lightness = np.stack([bars(), np.zeros_like(bars()), np.zeros_like(bars())], axis=-1)
        data = tiff((lightness.tobytes(), {BITS: [8] * 3, PHOTOMETRIC: [8], SAMPLES: [3]}))
    else:
        written = io.BytesIO()
        Image.fromarray(bars()).convert("RGB").convert(mode).save(written, kind)
        data = written.getvalue()
    require_bars(opened(data).page(0), within=60 if kind == "JPEG" else 3)


def test_ycbcr_with_all_of_its_colours_is_read_and_with_some_is_named() -> None:
    strip = np.asarray(Image.fromarray(bars()).convert("RGB").convert("YCbCr")).tobytes()
    form = {BITS: [8] * 3, PHOTOMETRIC: [6], SAMPLES: [3]}
    require_bars(opened(tiff((strip, {**form, SUBSAMPLING: [1, 1]}))).page(0), within=2)
    assert "`tiff2rgba" in refusal(tiff((strip, {**form, SUBSAMPLING: [2, 2]})))


# --- compressions of TIFF -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compression",
    [None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd", "jpeg"],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_compressions(compression: str | None, mode: str) -> None:
    data = picture("TIFF", mode, compression=compression)
    require_bars(opened(data).page(0), within=60 if compression == "jpeg" else 0)


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
def test_compressions_of_faxes(compression: str) -> None:
    require_bars(opened(picture("TIFF", "1", compression=compression)).page(0))


def test_what_the_libtiff_of_pillow_lacks_is_named_when_it_is_met() -> None:
    jpeg, webp = picture("JPEG"), picture("WEBP", "RGB", lossless=True)
    old_style = {BITS: [8], PHOTOMETRIC: [1], COMPRESSION: [6], 512: [1], 513: [0], 514: [len(jpeg)]}
    in_webp = {BITS: [8] * 3, PHOTOMETRIC: [2], SAMPLES: [3], COMPRESSION: [50001]}
    for name, data in (("old-style JPEG", tiff((jpeg, old_style))), ("WebP", tiff((webp, in_webp)))):
        told = refusal(data)
        assert f"(it is compressed with {name})" in told
        assert "`convert in.tif" in told


@pytest.mark.parametrize(
    ("method", "name", "command"),
    [
        (34712, "JPEG 2000", "convert in.tif"),
        (33005, "JPEG 2000", "convert in.tif"),
        (34661, "JBIG", "tiffcp -c lzw"),
        (34887, "LERC", "tiffcp -c lzw"),
        (50002, "JPEG XL", "convert in.tif"),
        (4711, "the unknown method 4711", "convert in.tif"),
    ],
)
def test_a_compression_that_is_not_read_is_named(method: int, name: str, command: str) -> None:
    told = refusal(tiff((packed(8), {BITS: [8], PHOTOMETRIC: [1], COMPRESSION: [method]})))
    assert f"the TIFF is compressed with {name}: convert it with `{command}" in told


# --- pages that cannot be read ------------------------------------------------------------------------------


def test_a_bad_page_of_a_tiff_costs_only_itself() -> None:
    good, bad = {BITS: [8], PHOTOMETRIC: [1]}, {BITS: [8], PHOTOMETRIC: [1], COMPRESSION: [34712]}
    for pages in itertools.permutations([good, good, bad]):
        read = opened(tiff(*[(packed(8), tags) for tags in pages]))
        number = pages.index(bad)
        assert list(read.refused) == [number]
        with pytest.raises(Unreadable, match=f"page {number + 1} of the TIFF is compressed with JPEG 2000"):
            read.page(number)
        for other in {0, 1, 2} - {number}:
            require_bars(read.page(other))


def test_a_tiff_whose_chain_of_pages_breaks_keeps_the_pages_before() -> None:
    whole = tiff(*[(packed(8), {BITS: [8], PHOTOMETRIC: [1]})] * 2)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(whole)) as image:
        image.seek(1)
        second = int(image.tag_v2.offset)
    broken = whole.replace(second.to_bytes(4, "little"), (len(whole) + 99).to_bytes(4, "little"))
    read = opened(broken)
    require_bars(read.page(0))
    with pytest.raises(Unreadable, match="nothing can be found behind 1 pages"):
        read.page(1)


def test_a_tiff_whose_pages_are_a_circle_ends() -> None:
    whole = tiff((packed(8), {BITS: [8], PHOTOMETRIC: [1]}))
    first = int.from_bytes(whole[4:8], "little")
    count = int.from_bytes(whole[first : first + 2], "little")
    link = first + 2 + 12 * count
    circle = whole[:link] + whole[4:8] + whole[link + 4 :]
    assert opened(circle).sizes == [SIZE]


def test_a_page_larger_than_allowed_costs_only_itself() -> None:
    two = pdf(
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Count 2/Kids[3 0 R 4 0 R]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 1000000 1000000]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>>",
    )
    read = opened(two)
    assert read.page(1).shape == (200, 200, 3)
    with pytest.raises(Unreadable, match=r"page 1: found a size of 1000000 x 1000000 points.*API_MAX_PIXELS"):
        read.page(0)


def test_too_many_pages_and_pixels_are_refused() -> None:
    pages = tiff(*[(packed(8), {BITS: [8], PHOTOMETRIC: [1]})] * 3)
    assert "found 3 pages, expected at most 2 (API_MAX_PAGES)" in refusal(pages, max_pages=2)
    assert "64 x 48 = 3072 pixels, expected at most 100 (API_MAX_PIXELS)" in refusal(
        picture("PNG"), max_pixels=100
    )


# --- PDF ----------------------------------------------------------------------------------------------------


def dark(shown: np.ndarray[Any, Any]) -> tuple[int, int]:
    """Width and height of what is black."""
    rows, columns = np.nonzero(shown[..., 0] < 128)
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


@pytest.mark.parametrize("hidden", [False, True])
def test_a_user_unit_counts(hidden: bool) -> None:
    """Also where the page stands in a compressed object stream."""
    data = page("/MediaBox[0 0 42 60]/UserUnit 10", "0 0 20 10 re f")
    if hidden:
        data = in_object_stream(
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Count 1/Kids[3 0 R]>>",
            "<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 42 60]/UserUnit 10>>",
            content="0 0 20 10 re f",
        )
        assert b"UserUnit" not in data
    read = opened(data, max_pixels=10**7)
    assert read.sizes == [(840, 1200)]
    assert dark(read.page(0)) == (400, 200)


def in_object_stream(*objects: str, content: str) -> bytes:
    """A PDF whose objects 1 to 3 are compressed, with a table of places that is a stream itself."""
    numbers, bodies = "", ""
    for number, written in enumerate(objects, 1):
        numbers += f"{number} {len(bodies)} "
        bodies += written + " "
    inner = zlib.compress((numbers + bodies).encode())
    data = bytearray(b"%PDF-1.7\n")
    places = {}
    for number, head, body in (
        (4, f"<</Length {len(content)}>>", content.encode()),
        (
            5,
            f"<</Type/ObjStm/N {len(objects)}/First {len(numbers)}/Filter/FlateDecode/Length {len(inner)}>>",
            inner,
        ),
    ):
        places[number] = len(data)
        data += f"{number} 0 obj\n{head}\nstream\n".encode() + body + b"\nendstream\nendobj\n"
    rows = [
        (0, 0, 255),
        *[(2, 5, index) for index in range(len(objects))],
        (1, places[4], 0),
        (1, places[5], 0),
    ]
    rows.append((1, len(data), 0))
    table = b"".join(bytes([kind]) + at.to_bytes(4) + bytes([last]) for kind, at, last in rows)
    start = len(data)
    head = f"<</Type/XRef/Size {len(rows)}/W[1 4 1]/Root 1 0 R/Length {len(table)}>>"
    data += f"6 0 obj\n{head}\nstream\n".encode() + table + b"\nendstream\nendobj\n"
    return bytes(data) + f"startxref\n{start}\n%%EOF\n".encode()


def test_a_small_page_without_a_user_unit_is_as_small_as_it_says() -> None:
    assert opened(page("/MediaBox[0 0 42 60]")).sizes == [(84, 120)]


@pytest.mark.parametrize(
    ("boxes", "size"),
    [
        ("/MediaBox[0 0 100 50]/CropBox[500 500 600 600]", (200, 100)),
        ("/MediaBox[0 0 100 50]/CropBox[0 0 0 0]", (200, 100)),
        ("/MediaBox[0 0 100 50]/CropBox[-10 -10 60 400]", (120, 100)),
        ("/MediaBox[100 50 0 0]", (200, 100)),
        ("/MediaBox[0 0 100 50]/Rotate 90", (100, 200)),
        ("/MediaBox[0 0 100 50]/Rotate -90", (100, 200)),
        ("/MediaBox[0 0 0 0]", (1224, 1584)),
        ("", (1224, 1584)),
    ],
)
def test_boxes_of_a_page(boxes: str, size: tuple[int, int]) -> None:
    """As ISO 32000-1 says; PDFium takes US Letter where there is no box."""
    read = opened(page(boxes), max_pixels=10**7)
    assert read.sizes == [size]
    assert read.page(0).min() == 0


def test_a_password_is_asked_for_in_plain_words() -> None:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", "owner", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    assert refusal(written.getvalue()).startswith("the PDF needs a password: remove it with `qpdf --decrypt")


def test_a_pdf_that_only_its_owner_may_change_is_read() -> None:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("", "owner", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    assert opened(written.getvalue()).sizes == [(200, 200)]


WAIT = "BT /F 12 Tf 20 50 Td (Please wait... Adobe Reader is needed.) Tj ET"
FIELD = "/Annots[<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/Rect[0 0 9 9]>>]"


@pytest.mark.parametrize("field", ["", FIELD.replace("0 0 9 9", "0 0 0 0")])
@pytest.mark.parametrize("needs", ["/NeedsRendering true", ""])
def test_the_placeholder_of_a_dynamic_form_is_no_document(needs: str, field: str) -> None:
    xfa = {"catalog": f"/AcroForm 6 0 R{needs}", "form": "<</Fields[]/XFA 4 0 R>>"}
    told = refusal(page(f"/MediaBox[0 0 400 200]{field}", WAIT, **xfa))
    assert "dynamic XFA form" in told
    assert "print it to PDF" in told


@pytest.mark.parametrize(
    ("more", "content", "form"),
    [
        (FIELD, WAIT, "<</Fields[]/XFA 4 0 R>>"),
        ("", "BT /F 12 Tf 20 50 Td (Tax form) Tj ET", "<</Fields[]/XFA 4 0 R>>"),
        ("", WAIT, "<</Fields[]>>"),
    ],
)
def test_other_forms_are_read(more: str, content: str, form: str) -> None:
    data = page(f"/MediaBox[0 0 400 200]{more}", content, catalog="/AcroForm 6 0 R", form=form)
    assert opened(data).page(0).min() < 128


@pytest.mark.parametrize(
    ("painted", "content", "text"),
    [
        (True, "", "BT /F 12 Tf 10 20 Td (A) Tj ET"),
        (False, "", "BT 3 Tr /F 12 Tf 10 20 Td (A) Tj ET"),
        (False, "", "BT 1 1 1 rg /F 12 Tf 10 20 Td (A) Tj ET"),
        (False, "", "BT /F 12 Tf 900 900 Td (A) Tj ET"),
        (False, "0 0 5 5 re f ", "BT /F 12 Tf 10 20 Td (A) Tj ET"),
        (False, "", ""),
    ],
)
def test_text_that_no_font_draws_is_not_taken_for_a_blank_page(
    painted: bool, content: str, text: str
) -> None:
    data = pdf(
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        "<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>/MediaBox[0 0 100 50]>>",
        stream(content + text),
        "<</Type/Font/Subtype/Type3/FontBBox[0 0 1 1]/FontMatrix[1 0 0 1 0 0]/FirstChar 65/LastChar 65"
        "/Widths[1]/Encoding<</Differences[65/A]>>/CharProcs<</A 6 0 R>>>>",
        stream("1 0 0 0 1 1 d1"),
    )
    if painted:
        assert refusal(data).startswith(
            "page 1 of the PDF has text, but no font in the file or here draws it"
        )
    else:
        assert opened(data).page(0).shape == (100, 200, 3)


def test_print_on_large_paper_is_to_be_cut_and_on_a4_is_not() -> None:
    def bound(width: int, height: int) -> int:
        return opened(page(f"/MediaBox[0 0 {width} {height}]"), max_pixels=10**8).bounds[0]

    assert [bound(595, 842), bound(842, 1191), bound(2384, 3370)] == [0, 0, 2000]


@pytest.mark.parametrize(("dpi", "bound"), [(72, 0), (96, 0), (300, 0), (200, 2778)])
def test_a_picture_is_large_by_the_resolution_that_a_scanner_gives(dpi: int, bound: int) -> None:
    written = io.BytesIO()
    Image.new("1", (3000, 4000), 1).save(written, "PNG", dpi=(dpi, dpi))
    assert opened(written.getvalue(), max_pixels=10**8).bounds == [bound]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"%PDF-1.7\n" + bytes(range(256)) * 9,
        pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 0/Kids[]>>"),
        b"\x89PNG\r\n\x1a\n",
        b"II*\0",
        b"\xff\xd8\xff",
    ],
)
def test_every_refusal_ends_in_a_next_step(data: bytes) -> None:
    assert refusal(data).endswith(
        ("send it as PDF, PNG, JPEG or TIFF", "and send that", "Send the whole file")
    )
