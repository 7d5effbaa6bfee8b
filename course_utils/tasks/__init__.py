"""The four tasks, one file each: loader, prompt, check, score (notebooks 01 to 08)."""
