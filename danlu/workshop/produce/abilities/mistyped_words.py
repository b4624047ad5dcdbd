"""Words that are mistyped: small ones, such as sound alike, Chinese ones in English or pinyin."""

from __future__ import annotations

_SMALL = """
a an the of to is are was were be do does did that this these those it its please can could
would you me my your i in on at for with and so just very then there
"""
_SOUND_ALIKE = """
their/there/they're your/you're its/it's to/too/two then/than whether/weather write/right
know/now where/wear which/witch here/hear buy/by for/four know/no would/wood whose/who's
effect/affect piece/peace principle/principal lose/loose accept/except quite/quiet advice/advise
week/weak one/won sea/see
"""
_IN_ENGLISH = """
邮件=email 会议=meeting 项目=project 计划=plan 问题=question 回答=answer 例子=example
电脑=computer 手机=phone 朋友=friend 老师=teacher 学生=student 公司=company 工作=work 时间=time
今天=today 明天=tomorrow 城市=city 天气=weather 音乐=music 电影=movie 故事=story 文章=article
段落=paragraph 总结=summary 列表=list 代码=code 函数=function 数据=data 模型=model 产品=product
客户=customer 价格=price 订单=order 服务=service 建议=advice 方法=method 结果=result 原因=reason
标题=title 名字=name 简单=simple 重要=important 谢谢=thanks 咖啡=coffee 假期=holiday 旅行=travel
团队=team 报告=report 版本=version 任务=task 步骤=step 怎么=how_to 为什么=why 解释=explain
写一=write_一
"""
_IN_PINYIN = """
什么 怎么 怎样 如何 为什么 可以 应该 需要 时候 现在 今天 明天 昨天 我们 你们 他们 自己 大家 这个
那个 一个 哪个 哪些 多少 知道 觉得 认为 希望 帮我 告诉 请问 谢谢 解释 说明 回答 问题 例子 文章
句子 故事 标题 名字 内容 意思 原因 结果 方法 建议 时间 地方 东西 事情 学生 老师 朋友 孩子 公司
工作 生活 世界 中国 城市 天气 音乐 电影 手机 电脑 简单 重要 喜欢 因为 所以 但是 如果 虽然 然后
已经 还是 或者 而且 下面 上面 里面 一下 写一 用一 判断 分析 比较 总结 翻译 改写 列出 计算 设计
推荐 介绍
"""
SMALL = frozenset(_SMALL.split())
"""Words that a sentence is understood without."""

SMALL_CHARACTERS = frozenset("一下与个也了些你吗吧呢和啊在地就帮得您我把是的着给请这那都")
"""The same in Chinese."""

SOUND_ALIKE = tuple(tuple(group.split("/")) for group in _SOUND_ALIKE.split())
"""Groups of words that are taken for one another."""

CHANGING = frozenset(["except", "four", "no", "one", "two", "won"])
"""Words that are not put in: they would say something else."""

IN_ENGLISH = dict(pair.replace("_", " ").split("=") for pair in _IN_ENGLISH.split())
"""Chinese words that are often said in English."""

IN_PINYIN = tuple(_IN_PINYIN.split())
"""Common words, for pinyin: where they begin and end is not written."""

READ_OTHERWISE = {"什么": "shenme", "为什么": "weishenme", "音乐": "yinyue", "还是": "haishi"}
"""Words with a character of several readings that is not read as it is sorted."""
