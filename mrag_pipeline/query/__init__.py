"""One question's way through one index version: cut, embed, search, filter, vote, read.

`retriever` runs all steps in one process. `embed` runs the steps that need the model (`cut`,
`embed`), `search` those that need the index (`plan`, `joint_search`, `filter`, `vote`, `read`).
"""
