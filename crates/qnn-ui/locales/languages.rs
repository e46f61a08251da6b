// Languages: their tag, and their name in themselves. The first has a text for everything.
[("en", "English"), ("zh-CN", "简体中文")]
