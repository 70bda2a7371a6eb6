"""Files to the byte: safetensors, torch's .bin, element types, checksums."""
