-- name: list_workers
SELECT node, worker, pid, port, loaded, info, since, seen_at,
       extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s
FROM node_workers
WHERE (node, worker) > ($1, $2) AND seen_at > clock_timestamp() - interval '7 days'
ORDER BY node, worker LIMIT $3;

-- name: forget_old_workers
DELETE FROM node_workers WHERE seen_at < clock_timestamp() - interval '7 days';
