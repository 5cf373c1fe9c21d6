-- An item's own checksums: the algorithm (NULL: the servers' fastest), and the digest that a file
-- must have at the destination, lower case. What was an option of the task moves to its items.
ALTER TABLE item ADD COLUMN checksum_algorithm text;
ALTER TABLE item ADD COLUMN external_checksum text;
UPDATE item SET checksum_algorithm = task.options ->> 'checksum_algorithm'
  FROM task WHERE task.task_no = item.task_no AND task.options ->> 'checksum_algorithm' IS NOT NULL;
