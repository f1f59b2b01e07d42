"""The catalog: repositories, versions, content and artifacts in PostgreSQL. The only floor that
knows the driver.
"""
