"""What users say after bad and good answers, and what only looks like it."""

from __future__ import annotations

import pytest

from danlu.flywheel.signals import asks_again, says_thanks, says_wrong

WRONG = """
No, I meant the island.
no that's wrong
That's not what I asked
Actually, I asked about Java 17
you misunderstood me
You’re wrong
Wrong. It is 42.
I said in French!
But that is incorrect, the sum is 7
try again
It still doesn't work
Sorry, I meant Austria
Nope
You forgot the second part
不对，我问的是上海
不對，應該是三
不是，我说的是明天
不是这个意思
你理解错了
错了，是1949年
怎么又错了
答案错了
我的意思是换一种写法
我是说去年
答非所问
重新回答
还是不对
你没听懂
根本不是这样
ＮＯ，I meant it
"""
NOT_WRONG = """
No problem, thanks!
no worries
No more questions
Now tell me about Java
Wrong turn is a film, who directed it?
I meanwhile found it
Nothing else
not now
What is wrong with my code?
It works
Notice that I use Python
Is that right?
不对称加密是什么？
不对劲的感觉怎么写
不对吗
不是很贵吧，再推荐一个
不是有两种方法吗？另一种呢
错误处理怎么写
错别字有哪些
我是学生
重新启动服务器的命令是什么
再见
那上海呢？
请再详细说说
"""
THANKS = """
Thanks!
perfect, that works
谢谢
太好了
明白了，那价格呢
解決了
"""
NOT_THANKS = """
Thanks, but that's wrong
Thank you for nothing
that's not helpful
没有用
不太明白了
谢谢，不过还是不行
no, thanks for trying
"""


@pytest.mark.parametrize("text", WRONG.strip().splitlines())
def test_a_correction(text: str) -> None:
    assert says_wrong(text)


@pytest.mark.parametrize("text", NOT_WRONG.strip().splitlines())
def test_no_correction(text: str) -> None:
    assert says_wrong(text) is None


@pytest.mark.parametrize("text", THANKS.strip().splitlines())
def test_thanks(text: str) -> None:
    assert says_thanks(text)


@pytest.mark.parametrize("text", NOT_THANKS.strip().splitlines())
def test_no_thanks(text: str) -> None:
    assert says_thanks(text) is None


def test_own_patterns_stand_anywhere() -> None:
    assert says_wrong("Das ist ganz falsch") is None
    assert says_wrong("Das ist ganz falsch", ["falsch"]) == "falsch"


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        ("What is the capital of Austria?", "what is the capital of Austria", True),
        ("What is the capital of Austria?", "I said: what is the capital of Austria?", True),
        ("What is the capital of Austria?", "What is the capital of Australia?", False),
        ("How do I sort a list?", "How do I sort a list of dicts by two keys in Python?", False),
        ("go on", "go on", False),
        ("北京明天的天气怎么样", "明天北京的天气怎么样？", True),
        ("北京明天的天气怎么样", "上海明天的天气怎么样", False),
        ("兩個數的和是多少", "两个数的和是多少", True),
        ("好的", "好的", False),
    ],
)
def test_asked_again(before: str, after: str, again: bool) -> None:
    assert asks_again(before, after) is again
