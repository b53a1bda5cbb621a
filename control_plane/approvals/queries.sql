-- name: add_approval
INSERT INTO model_approvals
  (model, version, approver, role, key_id, package, reports, policy, envelope, issued_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: report_digests
SELECT digest FROM model_reports WHERE model = $1 AND version = $2 ORDER BY name;

-- name: unread_reports
SELECT r.name FROM model_reports r
WHERE r.model = $1 AND r.version = $2 AND NOT EXISTS (
  SELECT FROM report_openings o WHERE o.model = r.model AND o.version = r.version
    AND o.digest = r.digest AND o.person = $3)
ORDER BY r.name;

-- name: approval_roles
-- Since the last submission.
SELECT role FROM standing_roles($1, $2) AS role;

-- name: worked_on
-- Whether the person behind an account contributed, himself or through a service account.
SELECT EXISTS (
  SELECT FROM model_contributors c WHERE c.model = $1 AND c.version = $2
    AND (c.person = $3 OR person_behind(c.person) = person_behind($3))
) OR EXISTS (
  SELECT FROM version_numbers n WHERE n.model = $1 AND n.version = $2
    AND person_behind(n.created_by) = person_behind($3)
);
