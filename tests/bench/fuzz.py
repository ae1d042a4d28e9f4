"""Throws hostile texts, pictures and files at what a stranger can reach, and counts crashes and wrong accepts.

`python -m tests.bench.fuzz [--texts N] [--images N] [--seed S]`; the campaign is `--texts 10000000 --images 200000`.
Texts go to the token parser and, where it reads a token, to its verification; images to the decoder's child process as
frames do, and what it reads to both; as many mutated files to the picture loaders, in a child of its own. A token
counts as accepted wrongly when it verifies and was not issued here. The seed replays a run.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import cv2
import msgspec
import numpy as np
import segno
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from edge.vision.codes import Effort
from edge.vision.decoder import Decoder, DecoderStalled
from edge.vision.pictures import PictureFault, load_picture, load_portrait
from shared.ids import MemberId
from shared.tokens import (
    CARD_BYTES,
    CARD_TYPE,
    PHONE_BYTES,
    PHONE_TYPE,
    PREFIX,
    TokenFault,
    base45_decode,
    base45_encode,
    certify_phone,
    issue_card,
    parse_token,
    show_phone_code,
    verify_token,
)
from tests.bench.table import Row, Table

Gray = NDArray[np.uint8]
TEXTS: Final = 100_000
IMAGES: Final = 2_000
SYMBOLS: Final = 300
"""Rendered once and mutated from then on: drawing a symbol takes longer than reading it."""
CPU_S_MAX: Final = 2.0
MEMORY_MIB_MAX: Final = 1024
"""The largest picture the loaders take comes to 200 MB in all its forms; what exceeds these is as bad as a crash."""
PATIENT_S: Final = 3.0
"""For one image. The door waits half a second; a busy neighbour of this machine must not count as a hang."""
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
MEMORY: Final = Path("/dev/shm")


class Tally(msgspec.Struct, kw_only=True):
    """What became of the runs of one thing."""

    runs: int = 0
    read: int = 0
    """Texts that parsed as a token, images that gave a text, files that gave a picture."""
    genuine: int = 0
    """Issued tokens that came through whole: error correction does its work."""
    accepted: int = 0
    """Tokens that verified and were never issued."""
    crashes: int = 0
    """Exceptions, children lost, files that take far too much time or memory."""
    first: str = ""
    """Of whatever went wrong, for the one who looks into it."""

    def note(self, what: str) -> None:
        """Keeps the first thing that went wrong."""
        self.first = self.first or what

    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.accepted or self.crashes)


# --- tokens -----------------------------------------------------------------------------------------------------------


class Issuer:
    """One issuer and what it issued: the only texts that may ever verify."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        key = Ed25519PrivateKey.from_private_bytes(random.randbytes(32))
        self.public = {1: key.public_key()}
        cards = [
            issue_card(key, issuer=1, member=MemberId(random.randbytes(10)), serial=number, expiry_day=30_000)
            for number in range(20)
        ]
        self.issued = frozenset([*cards, *(self._phone_code(key, random) for _ in range(20))])
        self.texts = tuple(sorted(self.issued))
        self.letters = "".join(random.choices(ALPHABET, k=1_000_000))
        """Random ones to cut from, as drawing each anew takes longer than parsing it."""
        self.raw = tuple(data for text in self.texts if (data := base45_decode(text.removeprefix(PREFIX))))

    def judge(self, text: str, tally: Tally) -> None:
        """Counts what becomes of the text at a kiosk whose clock is not trusted: the one that checks the least."""
        try:
            token = parse_token(text)
            if isinstance(token, TokenFault):
                return
            tally.read += 1
            if verify_token(token, self.public, None) is not None:
                return
        except Exception as fault:  # noqa: BLE001 - whatever is raised is what we look for
            tally.crashes += 1
            tally.note(f"{fault!r} on {text!r}")
            return
        if text in self.issued:
            tally.genuine += 1
        else:
            tally.accepted += 1
            tally.note(f"accepted {text!r}")

    @staticmethod
    def _phone_code(key: Ed25519PrivateKey, random: Random) -> str:
        phone = Ed25519PrivateKey.from_private_bytes(random.randbytes(32))
        public = phone.public_key().public_bytes_raw()
        member = MemberId(random.randbytes(10))
        certificate = certify_phone(key, issuer=1, member=member, expiry_day=30_000, public_key=public)
        return show_phone_code(phone, certificate, random.randrange(2**32))


def texts(issuer: Issuer, random: Random, count: int) -> Iterator[str]:
    """Hostile texts, most of them valid ones spoilt; one in eight so that it may still parse: checking takes time."""
    cheap = (_cut, _other_case, _longer, _any_letters, _any_characters, _cut, _any_characters)
    kinds = (_other_letters, *cheap, _spliced, *cheap, _other_bytes, *cheap)
    for number in range(count):
        yield kinds[number % len(kinds)](issuer, random)


def _other_letters(issuer: Issuer, random: Random) -> str:
    """A valid text with one to three letters changed: it mostly still parses, and must not verify."""
    letters = list(random.choice(issuer.texts))
    for _ in range(random.randint(1, 3)):
        letters[random.randrange(len(letters))] = random.choice(ALPHABET)
    return "".join(letters)


def _other_bytes(issuer: Issuer, random: Random) -> str:
    """The bytes of a valid text with some bits turned, or bytes of the right length and type and nothing else."""
    if random.random() < 0.5:
        kind, length = random.choice(((CARD_TYPE, CARD_BYTES), (PHONE_TYPE, PHONE_BYTES)))
        return PREFIX + base45_encode(bytes([kind, 1]) + random.randbytes(length - 2))
    data = bytearray(random.choice(issuer.raw))
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return PREFIX + base45_encode(bytes(data))


def _cut(issuer: Issuer, random: Random) -> str:
    text = random.choice(issuer.texts)
    begin, end = sorted((random.randrange(len(text) + 1), random.randrange(len(text) + 1)))
    return text[begin:end] if random.random() < 0.5 else text[:begin] + text[end:]


def _spliced(issuer: Issuer, random: Random) -> str:
    """The head of one valid text and the tail of another."""
    one, other = random.choice(issuer.texts), random.choice(issuer.texts)
    at = random.randrange(len(one))
    return one[:at] + other[at:]


def _other_case(issuer: Issuer, random: Random) -> str:
    text = random.choice(issuer.texts)
    at = random.randrange(len(text))
    return text[:at] + text[at:].lower() if random.random() < 0.5 else text[:at].lower() + text[at:]


def _longer(issuer: Issuer, random: Random) -> str:
    text = random.choice(issuer.texts)
    return random.choice((text * random.randint(2, 40), text + random.choice(ALPHABET), f" {text}", f"{PREFIX}{text}"))


def _any_letters(issuer: Issuer, random: Random) -> str:
    """The prefix and letters of the alphabet, as many as a card or a phone code has, or about as many."""
    length = len(random.choice(issuer.texts)) - len(PREFIX) + random.randint(-2, 2)
    at = random.randrange(len(issuer.letters) - length)
    return PREFIX + issuer.letters[at : at + length]


def _any_characters(_: Issuer, random: Random) -> str:
    """Whatever text may be, lone surrogates and zeros included."""
    prefix = PREFIX if random.random() < 0.5 else ""
    return prefix + "".join(map(chr, random.choices(range(0x3000), k=random.randrange(40)))) + random.choice(_ODD)


_ODD: Final = ("", "\0", "\ud800", "\udfff", "\U0010ffff", "٣", "０", "\u202e", "ſ", "İ")


def fuzz_texts(issuer: Issuer, count: int, seed: int) -> Tally:
    """The token parser and its verification."""
    tally = Tally()
    for text in texts(issuer, Random(seed), count):
        tally.runs += 1
        issuer.judge(text, tally)
    return tally


# --- images -----------------------------------------------------------------------------------------------------------


def symbols(issuer: Issuer, seed: int, count: int = SYMBOLS) -> list[Gray]:
    """Codes to mutate, one pixel a module: issued tokens, hostile texts, bytes that are no text."""
    random = Random(seed)
    contents: list[str | bytes] = list(issuer.texts[: count // 3])
    contents += list(texts(issuer, random, count // 3))
    contents += [random.randbytes(random.randint(1, 200)) for _ in range(count - len(contents))]
    drawn = []
    for content in contents:
        plain = content.encode(errors="surrogatepass")[:1000] if isinstance(content, str) else content
        symbol = segno.make(plain or b"-", error=random.choice("lmqh"), micro=None, boost_error=False)
        modules = np.array([list(row) for row in symbol.matrix_iter(border=4)], np.uint8)
        drawn.append(np.where(modules > 0, 0, 255).astype(np.uint8))
    return drawn


def images(drawn: list[Gray], generator: np.random.Generator, count: int) -> Iterator[Gray]:
    """Hostile frames: codes with modules turned, covered, bent, blurred and in noise; noise; shapes no camera has."""
    kinds = (_turned_modules, _covered, _bent, _in_noise, _turned_modules, _noise, _finders, _odd_shape)
    for number in range(count):
        yield kinds[number % len(kinds)](drawn, generator)


def _symbol(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    return drawn[int(generator.integers(len(drawn)))]


def _grown(modules: Gray, generator: np.random.Generator) -> Gray:
    """The symbol with one to four pixels a module."""
    side = int(generator.integers(1, 5))
    return np.repeat(np.repeat(modules, side, axis=0), side, axis=1)


def _turned_modules(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    """Some modules are the other colour: with few the code is corrected, with more it must not become another."""
    modules = _symbol(drawn, generator)
    share = float(generator.choice([0.005, 0.02, 0.05, 0.1, 0.3]))
    turned = generator.random(modules.shape, np.float32) < share
    return _grown(np.where(turned, 255 - modules, modules).astype(np.uint8), generator)


def _covered(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    picture = _grown(_symbol(drawn, generator), generator)
    side = len(picture)
    top, left = (int(at) for at in generator.integers(0, side, 2))
    size = int(generator.integers(1, max(2, side // 2)))
    picture[top : top + size, left : left + size] = generator.integers(0, 256)
    return picture


def _bent(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    picture = _grown(_symbol(drawn, generator), generator)
    side = float(len(picture))
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    moved = corners + generator.normal(0, side * 0.12, (4, 2)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    bent = cv2.warpPerspective(picture, matrix, (int(side), int(side)), borderValue=255.0)
    return np.asarray(cv2.GaussianBlur(bent, (3, 3), 0) if generator.random() < 0.5 else bent, np.uint8)


def _in_noise(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    picture = _grown(_symbol(drawn, generator), generator).astype(np.float32)
    picture += generator.standard_normal(picture.shape, np.float32) * float(generator.choice([20, 60, 120]))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _noise(_: list[Gray], generator: np.random.Generator) -> Gray:
    height, width = (int(side) for side in generator.integers(1, 160, 2))
    picture = generator.integers(0, 256, (height, width), np.uint8)
    return np.where(picture > 127, 255, 0).astype(np.uint8) if generator.random() < 0.5 else picture


def _finders(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    """A symbol whose frame is whole, format and version included, and whose inside is noise."""
    modules = _symbol(drawn, generator).copy()
    inner = slice(13, len(modules) - 13)
    shape = modules[inner, 4:-4].shape
    modules[inner, 4:-4] = np.where(generator.random(shape, np.float32) < 0.5, 0, 255)
    return _grown(modules, generator)


def _odd_shape(drawn: list[Gray], generator: np.random.Generator) -> Gray:
    """A row, a column, nothing, or a symbol torn to another width."""
    long = int(generator.integers(0, 3000))
    match int(generator.integers(4)):
        case 0:
            return generator.integers(0, 256, (1, long), np.uint8)
        case 1:
            return generator.integers(0, 256, (long, int(generator.integers(0, 4))), np.uint8)
        case 2:
            modules = _grown(_symbol(drawn, generator), generator)
            return np.ascontiguousarray(
                modules.ravel()[: long * 7].reshape(-1, 7) if modules.size > long * 7 else modules
            )
        case _:
            return np.tile(_symbol(drawn, generator), (2, 2))


def fuzz_images(issuer: Issuer, count: int, seed: int, symbol_count: int = SYMBOLS) -> Tally:
    """The decoder's child, as frames reach it; one image in eight with all retries."""
    tally = Tally()
    drawn = symbols(issuer, seed, symbol_count)
    with Decoder(wanted=PREFIX, decode_limit_s=PATIENT_S) as decoder:
        for image in images(drawn, np.random.default_rng(seed), count):
            effort = Effort.FULL if tally.runs // 8 % 8 == 0 else Effort.QUICK
            tally.runs += 1
            answer = decoder.decode(image, effort)
            if isinstance(answer, DecoderStalled):
                tally.note(f"image {tally.runs}: {answer.reason}")
                continue
            tally.read += bool(answer.codes)
            for code in answer.codes:
                judged = Tally()
                issuer.judge(code.text, judged)
                tally.genuine += judged.genuine
                tally.accepted += judged.accepted
                tally.crashes += judged.crashes
                tally.note(judged.first)
        tally.crashes += decoder.restarts
    return tally


# --- files ------------------------------------------------------------------------------------------------------------


def files(generator: np.random.Generator, count: int) -> Iterator[bytes]:
    """Picture files with bytes changed, left out, repeated, or cut off, most of them near the beginning."""
    whole = _whole_files(generator)
    for number in range(count):
        data = bytearray(whole[number % len(whole)])
        for _ in range(int(generator.integers(1, 5))):
            _spoil(data, generator)
        yield bytes(data)


def _whole_files(generator: np.random.Generator) -> list[bytes]:
    picture = generator.integers(0, 256, (24, 31, 3), np.uint8)
    picture[:, 8:] = 90
    moving = cv2.Animation()
    moving.frames = [picture, picture[::-1].copy()]
    moving.durations = [50, 50]
    made = [
        cv2.imencode(".png", picture),
        cv2.imencode(".png", picture.astype(np.uint16) * 257),
        cv2.imencode(".png", picture[:, :, 0]),
        cv2.imencode(".jpg", picture),
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 60]),
        cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        cv2.imencodeanimation(".png", moving),
        cv2.imencodeanimation(".webp", moving),
    ]
    assert all(done for done, _ in made)
    return [np.asarray(data, np.uint8).tobytes() for _, data in made]


def _spoil(data: bytearray, generator: np.random.Generator) -> None:
    reach = len(data) if generator.random() < 0.5 else min(len(data), 80)
    at = int(generator.integers(reach)) if reach else 0
    length = int(generator.integers(1, 9))
    match int(generator.integers(5)):
        case 0 | 1:
            data[at : at + 1] = generator.bytes(1)
        case 2:
            del data[at : at + length]
        case 3:
            data[at:at] = data[at : at + length] * int(generator.integers(1, 4))
        case _:
            data[at : at + 2] = [b"\xff\xff", b"\0\0", b"\x7f\xff", b"\xff\xda"][int(generator.integers(4))]


def fuzz_files(count: int, seed: int, folder: Path) -> Tally:
    """Both picture loaders, in this process: whoever asks for it does so in a child."""
    tally, path = Tally(), folder / "picture"
    for data in files(np.random.default_rng(seed), count):
        tally.runs += 1
        path.write_bytes(data)
        began_s = time.process_time()
        try:
            found = [load_picture(path), load_portrait(path)]
        except Exception as fault:  # noqa: BLE001 - whatever is raised is what we look for
            tally.crashes += 1
            tally.note(f"{fault!r} on {data[:200]!r}")
            continue
        tally.read += any(not isinstance(one, PictureFault) for one in found)
        if time.process_time() - began_s > CPU_S_MAX:
            tally.crashes += 1
            tally.note(f"took more than {CPU_S_MAX} s: {data[:200]!r}")
    peak_mib = _peak_mib()
    if peak_mib > MEMORY_MIB_MAX:
        tally.crashes += 1
        tally.note(f"took {peak_mib} MiB")
    return tally


def _peak_mib() -> int:
    """The most memory this program ever had; what `getrusage` says, a child inherits from whoever started it."""
    words = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(words.split()[1]) // 1024


def fuzz_files_in_child(count: int, seed: int) -> Tally:
    """The same in a child, whose death counts."""
    command = [sys.executable, "-m", "tests.bench.fuzz", "--files-only", str(count), "--seed", str(seed)]
    return told_by(subprocess.run(command, stdout=subprocess.PIPE, check=False), count)


def told_by(done: subprocess.CompletedProcess[bytes], count: int) -> Tally:
    """What the child counted, or that it died."""
    if done.returncode != 0:
        return Tally(runs=count, crashes=1, first=f"the loaders' child ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Tally)


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A tally and how long it took."""

    tally: Tally
    took_s: float


def timed(run: Callable[[], Tally]) -> Timed:
    """The run's tally and time."""
    began_s = time.perf_counter()
    tally = run()
    return Timed(tally=tally, took_s=time.perf_counter() - began_s)


def table(text_count: int, image_count: int, seed: int) -> Table:
    """Everything that was thrown, and what became of it."""
    issuer = Issuer(seed)
    results = (
        ("texts at the token parser", timed(lambda: fuzz_texts(issuer, text_count, seed))),
        ("images at the decoder", timed(lambda: fuzz_images(issuer, image_count, seed))),
        ("files at the loaders", timed(lambda: fuzz_files_in_child(image_count, seed))),
    )
    notes = [
        f"seed {seed}; 'read': parsed as a token, gave a text, gave a picture; crashes: also lost children and bombs."
    ]
    notes += [f"{what}: {result.tally.first}" for what, result in results if result.tally.first]
    return Table(
        title="Hostile input: crashes and wrong accepts",
        headers=("what", "runs", "read", "genuine", "crashes", "accepted", "s"),
        rows=tuple(_row(what, result) for what, result in results),
        notes=tuple(notes),
    )


def _row(what: str, result: Timed) -> Row:
    tally = result.tally
    counts = (tally.runs, tally.read, tally.genuine, tally.crashes, tally.accepted)
    cells = (what, *(f"{count:,}" for count in counts), f"{result.took_s:.0f}")
    return Row(cells=cells, bar="0 crashes, 0 accepted", missed=not tally.is_clean())


def main() -> None:
    """Prints the table, or as the loaders' child its tally."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fuzz", description=__doc__)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files-only", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.files_only is None:
        print(table(given.texts, given.images, given.seed))
        return
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        tally = fuzz_files(given.files_only, given.seed, Path(folder))
    sys.stdout.buffer.write(msgspec.json.encode(tally))


if __name__ == "__main__":
    main()
