-- Group roles: what each process of the stack may do. They cannot log in; an operator makes one
-- login per process and grants it its group. Roles belong to the whole server, so two databases
-- that migrate at once may race here: losing that race is fine.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY[
    'interlock_control', 'interlock_router', 'interlock_shipper',
    'interlock_explainer', 'interlock_worker', 'interlock_auditor'
  ] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        RAISE NOTICE 'role % was created meanwhile', wanted;
      END;
    END IF;
  END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO
  interlock_control, interlock_router, interlock_shipper,
  interlock_explainer, interlock_worker, interlock_auditor;
