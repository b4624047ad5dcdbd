"""Tasks that an assistant of text only cannot do, or that are no tasks."""

from __future__ import annotations

import regex

from danlu.workshop.likeness.text import units

FEWEST_UNITS = 3
MOST_CHARACTERS = 4000

_RULES: dict[str, regex.Pattern[str]] = {
    "link": regex.compile(
        r"https?://|www\.\S"
        r"|\b(?:click|visit|browse|open) (?:the|this|that) (?:link|url|web ?site|page)"
        r"|(?:点击|打开|访问|浏览).{0,8}(?:链接|网址|网页|网站)|见链接",
        regex.I,
    ),
    "image": regex.compile(
        r"\b(?:this|following|attached|given|above|below) (?:image|picture|photo(?:graph)?|"
        r"figure|diagram|screenshot|chart|graph)\b|\bdraw (?:a|an|the|me)\b|\bin the picture\b"
        r"|(?:这|下|上|那|附|该|此|所给)(?:张|幅|面|图)?的?(?:图|图片|照片|截图|插图|图表)"
        r"|看图|如图|画一(?:张|幅|个)",
        regex.I,
    ),
    "file": regex.compile(
        r"\b(?:attached|the following|this|uploaded|given) (?:file|document|pdf|spreadsheet|"
        r"attachment|csv|dataset)\b|\battachment\b|附件|上传的|(?:这个|该|下面的|所给)(?:文件|文档|表格文件|数据集)",
        regex.I,
    ),
    "audio or video": regex.compile(
        r"\b(?:listen to|watch|record|play) (?:the|this|an?|that)\b"
        r"|\b(?:this|the) (?:video|audio|recording|song)\b"
        r"|(?:这段|下面的|该|这个)(?:视频|音频|录音)|听(?:下面|这段)|观看|录制一",
        regex.I,
    ),
    "present time": regex.compile(
        r"\b(?:today's|current|latest|this week's|live) (?:date|time|weather|news|price|stock|"
        r"score|headline)s?|\bwhat (?:time|day|date) is it\b"
        r"|(?:今天|现在|当前|最新|实时)的?(?:日期|时间|天气|新闻|股价|价格|比分|行情|几点|几号)|现在几点",
        regex.I,
    ),
    "acting in the world": regex.compile(
        r"\b(?:set|turn) (?:an?|the|on|off) (?:alarm|timer|light)s?\b"
        r"|\b(?:send|forward) (?:an?|the|this) e-?mail to\b"
        r"|\b(?:book|order|buy|call) (?:me|a taxi|a table|a flight)\b"
        r"|帮我(?:订|买|打电话|叫车|发邮件|转账)|(?:设|定)(?:个|一个)?闹钟|(?:开|关)灯",
        regex.I,
    ),
    "placeholder": regex.compile(
        r"\[(?:insert|your|name|text|topic|paste)[^\]]*\]|<(?:insert|your|text)[^>]*>|\{\{.*?\}\}"
        r"|【(?:请|在此|填|插入|此处)[^】]*】|(?:XXX+|xxx+|×××+)",
    ),
    "about itself": regex.compile(
        r"\bas an? (?:ai|language model)\b|\b(?:previous|above|earlier) tasks?\b|\bnew tasks?\b"
        r"|作为(?:一个|一名)?(?:AI|人工智能|语言模型)|(?:上面|以上|前面)(?:的|那些)?任务|新任务",
        regex.I,
    ),
}


def unusable(text: str) -> str | None:
    """Say why a task cannot be used; None if it can.

    Example:
        >>> unusable("描述这张图片里的人"), unusable("What is the weather like? See https://x.org")
        ('image', 'link')
        >>> unusable("Explain how a photograph is developed.")
    """
    if len(units(text)) < FEWEST_UNITS:
        return "too short"
    if len(text) > MOST_CHARACTERS:
        return "too long"
    if not text[0].isalnum() and text[0] not in "\"'“‘「《(（[【*#-":
        return "begins with a sign"
    for rule, pattern in _RULES.items():
        if pattern.search(text):
            return rule
    return None
