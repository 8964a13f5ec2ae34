"""Whether this machine can draw Chinese: the PDF takes the fonts that are installed."""

import shutil
import subprocess

GET_FONT = "apt install fonts-noto-cjk, or the like, gets one"


def has_chinese_font() -> bool:
    """Whether fontconfig knows a font with Chinese, or cannot be asked."""
    if shutil.which("fc-list") is None:
        return True
    done = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=False)
    return bool(done.stdout.strip())
