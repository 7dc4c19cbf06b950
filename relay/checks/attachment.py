"""The files that a message carries: names, kinds by content, and what archives hide.

Knows nothing of viruses: what a program does is for scanners to say. Looking into files is in
`mail/files.py`; here it is limited, kept off the event loop, and put into facts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pydantic import Field

from relay.mail import headers
from relay.mail.files import FileLimits, Files, extension_of, files_of, is_file
from relay.mail.magic import PROGRAMS
from relay.mail.mime import structure_of
from relay.policy.facts import Fact, FactType, Stage
from relay.settings.table import Table
from relay.settings.values import Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.mail.headers import HeaderBlock
    from relay.policy.case import Case
    from relay.policy.check import Offload, Tools
    from relay.policy.facts import Value

__all__ = ["FACTS", "AttachmentCheck", "Settings", "build"]

FACTS: Final = (
    Fact(
        "attachment.count",
        FactType.INT,
        Stage.MESSAGE,
        "How many parts are files: named, said to be attached, or no text.",
    ),
    Fact(
        "attachment.names",
        FactType.STRINGS,
        Stage.MESSAGE,
        "The names of the files, and of those in archives; the first 100, control characters as ?.",
    ),
    Fact(
        "attachment.extensions",
        FactType.STRINGS,
        Stage.MESSAGE,
        "The extensions of all these names in lower case, each once, without the dot.",
    ),
    Fact(
        "attachment.types",
        FactType.STRINGS,
        Stage.MESSAGE,
        'What the files are by their content, each once: "pe", "elf", "macho", "dos", "java", '
        '"jar", "dex", "wasm", "script", "lnk", "chm" (programs); "zip", "gzip", "tar", "7z", "rar", '
        '"bzip2", "xz", "zstd", "lz4", "cab", "arj", "lzh", "ace", "iso", "vhd", "tnef" (which '
        'hold others); "ooxml", "odf", "ole", "rtf", "pdf", "html", "onenote" (documents); "png", '
        '"jpeg", "gif". What is none of these is not named.',
    ),
    Fact(
        "attachment.has_executable",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether a file is a program by its content, or by its extension (see `executable_extensions`).",
    ),
    Fact(
        "attachment.has_disguised",
        FactType.BOOL,
        Stage.MESSAGE,
        'Whether a program looks like something else: "invoice.pdf.exe", a program called "a.pdf", '
        "a name with characters that turn the reading direction, or blanks that push the end away.",
    ),
    Fact(
        "attachment.has_encrypted",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether a zip archive has encrypted files, or an Office document is encrypted.",
    ),
    Fact(
        "attachment.has_macro",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether an Office document holds macros, by its content.",
    ),
    Fact(
        "attachment.is_bomb",
        FactType.BOOL,
        Stage.MESSAGE,
        "Whether an archive would unpack to more than `bomb_size` and `bomb_ratio`, or its files "
        "share their bytes.",
    ),
    Fact(
        "attachment.unlistable",
        FactType.STRINGS,
        Stage.MESSAGE,
        "Archives whose files are not all known: broken, of another format, or past a limit.",
    ),
)

_EXECUTABLE_EXTENSIONS: Final = (
    "ade", "adp", "apk", "app", "appinstaller", "application", "appref-ms", "appx", "appxbundle",
    "asx", "bas", "bat", "chm", "cmd", "com", "cpl", "diagcab", "dll", "dmg", "exe", "gadget", "hlp",
    "hta", "inf", "ins", "isp", "jar", "jnlp", "js", "jse", "lib", "library-ms", "lnk", "mde", "mht",
    "msc", "msh", "msi", "msix", "msixbundle", "msp", "mst", "nsh", "ocx", "pif", "ppkg", "ps1",
    "ps1xml", "ps2", "psc1", "psd1", "psm1", "reg", "rgs", "scf", "scr", "sct", "search-ms",
    "settingcontent-ms", "sh", "shb", "shs", "sys", "url", "vb", "vbe", "vbs", "vxd", "website",
    "wsc", "wsf", "wsh", "xbap", "xll",
)  # fmt: skip
_MAX_NAMES: Final = 100


class Settings(Table):
    """How far files are looked into. A limit holds for all files of one message together."""

    max_depth: int = Field(default=3, ge=0, le=10)
    """How deep archives in archives are looked into; 0: only at the files themselves."""

    max_entries: int = Field(default=2000, ge=1, le=100_000)
    """How many files in archives are looked at."""

    max_unpacked: Size = 32 * 1024**2
    """How much is unpacked, to see what is in archives in archives."""

    bomb_ratio: int = Field(default=100, ge=2)
    """An archive is a bomb if it would unpack to more than so many times its size..."""

    bomb_size: Size = 100 * 1024**2
    """...and to more than this."""

    executable_extensions: tuple[str, ...] = _EXECUTABLE_EXTENSIONS
    """Extensions, in lower case and without the dot, that count as programs whatever is in the file."""


def build(settings: Settings, tools: Tools) -> AttachmentCheck:
    """Make the check."""
    limits = FileLimits(
        settings.max_depth,
        settings.max_entries,
        settings.max_unpacked,
        settings.bomb_ratio,
        settings.bomb_size,
    )
    return AttachmentCheck(limits, frozenset(settings.executable_extensions), tools.offload)


class AttachmentCheck:
    """Looks into files beside the event loop (`policy.check.WaitingCheck`)."""

    def __init__(self, limits: FileLimits, executable: frozenset[str], offload: Offload) -> None:
        self._limits = limits
        self._executable = executable
        self._offload = offload

    async def gather(
        self, case: Case, _stage: Stage, _wanted: frozenset[str]
    ) -> Mapping[str, Value]:
        """Return all facts; a message of text only costs no more than a look at its structure."""
        block = case.header or headers.split(case.message)
        if len(case.message) <= _LARGE_BYTES and not _has_files(block):
            return self._facts(Files())
        return await self._offload(lambda: self._look(block))

    def _look(self, block: HeaderBlock) -> dict[str, Value]:
        return self._facts(files_of(block.message, structure_of(block), self._limits))

    def _facts(self, found: Files) -> dict[str, Value]:
        extensions = dict.fromkeys(filter(None, map(extension_of, found.names)))
        is_program = not PROGRAMS.isdisjoint(found.kinds)
        return {
            "attachment.count": found.count,
            "attachment.names": _shown(found.names),
            "attachment.extensions": tuple(extensions)[:_MAX_NAMES],
            "attachment.types": tuple(found.kinds),
            "attachment.has_executable": is_program or not self._executable.isdisjoint(extensions),
            "attachment.has_disguised": self._has_disguised(found),
            "attachment.has_encrypted": found.has_encrypted,
            "attachment.has_macro": found.has_macro,
            "attachment.is_bomb": found.is_bomb,
            "attachment.unlistable": _shown(found.unlistable),
        }

    def _has_disguised(self, found: Files) -> bool:
        return any(
            kind in PROGRAMS and extension_of(name) in _DOCUMENT_EXTENSIONS
            for name, kind in found.named_kinds
        ) or any(self._is_disguised(name) for name in found.names)

    def _is_disguised(self, name: str) -> bool:
        if _TURNING.search(name):
            return True
        if extension_of(name) not in self._executable:
            return False
        stem = name.rstrip(". \0").rpartition(".")[0]
        return extension_of(stem) in _DOCUMENT_EXTENSIONS or _MANY_BLANKS.search(name) is not None


_LARGE_BYTES: Final = 16 * 1024  # nothing but delimiters and parameters: 5 ms
_TURNING: Final = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MANY_BLANKS: Final = re.compile(r"[\s\u00a0\u2000-\u200b\u3000]{4}")
_NOT_SHOWN: Final = re.compile(
    "[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_MAX_NAME_CHARACTERS: Final = 255
_DOCUMENT_EXTENSIONS: Final = frozenset(
    {
        "bmp", "csv", "doc", "docx", "gif", "htm", "html", "jpeg", "jpg", "mp3", "mp4", "odp",
        "ods", "odt", "pdf", "png", "ppt", "pptx", "rtf", "svg", "tif", "tiff", "txt", "wav", "xls",
        "xlsx", "xml", "zip",
    }
)  # fmt: skip


def _has_files(block: HeaderBlock) -> bool:
    return any(is_file(part) for part in structure_of(block).parts)


def _shown(names: Mapping[str, None]) -> tuple[str, ...]:
    shown = (_NOT_SHOWN.sub("?", name[:_MAX_NAME_CHARACTERS]) for name in names)
    return tuple(dict.fromkeys(shown))[:_MAX_NAMES]
