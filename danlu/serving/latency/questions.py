"""Questions of about a length, no two of which begin alike: nothing of a prompt is known before."""

from __future__ import annotations

import random
from typing import Literal

WORDS = {
    "en": (
        "furnace river letter garden winter market stone bridge forest window morning captain "
        "island paper silver engine valley summer harbour kitchen doctor mountain candle blanket "
        "teacher ocean village number story castle basket station copper meadow orange pencil "
        "rabbit thunder library hammer cotton flower ladder mirror bottle carpet dragon feather"
    ),
    "zh": (
        "炉子 河流 书信 花园 冬天 市场 石头 桥梁 森林 窗户 早晨 船长 岛屿 "
        "纸张 白银 引擎 山谷 夏天 港口 厨房 医生 高山 蜡烛 毯子 老师 海洋 "
        "村庄 数字 故事 城堡 篮子 车站 铜器 草地 橙子 铅笔 兔子 锤子 雷声"
    ),
}
TOKENS_PER_WORD = {"en": 1.4, "zh": 2.2}
"""About: what counts is the number that the server reports."""
ASKED = {
    "en": "Tell a long story about these words, and do not stop early.",
    "zh": "请用这些词讲一个很长的故事，不要提前结束。",
}


def question(rng: random.Random, tokens: int, language: Literal["en", "zh"]) -> str:
    """Return a question of about so many tokens.

    Example:
        >>> question(random.Random(0), 8, "en")
        '813847339. Tell a long story about these words, and do not stop early. teacher'
    """
    words = WORDS[language].split()
    count = max(1, round((tokens - 16) / TOKENS_PER_WORD[language]))
    text = (" " if language == "en" else "").join(rng.choice(words) for _ in range(count))
    return f"{rng.randrange(10**9)}. {ASKED[language]} {text}"
