"""The index on Milvus: Lite in this process, or a server. The only room that imports pymilvus."""
