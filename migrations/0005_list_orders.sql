-- Orders of lists that no other index gives. The id breaks ties: PostgreSQL sorts the few rows that are
-- equal in the column as it reads.

-- Not documented, but the list of all records is in this order.
CREATE INDEX ix_publish_records_created_at ON orion.publish_records (created_at);

CREATE INDEX ix_service_tokens_name ON projection.service_tokens (name);
