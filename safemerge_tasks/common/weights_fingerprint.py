"""Which weights a name stands for, told without loading them."""

import hashlib
from pathlib import Path


def weights_fingerprint(model: str, revision: str | None) -> str | None:
    """Return a string that changes whenever the weights may have, or None where none can be had.

    A folder's is made of its files' names, sizes and times of change; a Hub id's is the commit that
    its revision stands for in the local cache.
    """
    if Path(model).is_dir():
        files = sorted(path for path in Path(model).rglob("*") if path.is_file())
        seen = "\n".join(
            f"{path.relative_to(model)} {path.stat().st_size} {path.stat().st_mtime_ns}"
            for path in files
        )
        return hashlib.sha256(seen.encode()).hexdigest()
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model, "config.json", revision=revision)
    # .../snapshots/<commit>/config.json
    return Path(config).parent.name if isinstance(config, str) else None
