-- The queue of documents. `job` is what clients see; `task` is what workers take: one split, its page ranges, one join.
--
-- Locks are taken in one order: the job's row first, then its open task rows by id. `claim_tasks` skips locked rows;
-- `renew_leases` and `release_tasks` take task rows only, by id. `tally` comes last in every transaction.
-- A claim raises `epoch`, and whatever ends a task names its id, owner and epoch and does nothing when that is no longer
-- the lease: it may be repeated after a lost answer, and a worker that comes too late changes nothing.

CREATE TABLE job (
    id uuid PRIMARY KEY,
    key_name text NOT NULL, -- whose job it is: the name of the API key; empty where the site has no keys
    repeat_key text, -- Idempotency-Key
    asked_sha256 bytea NOT NULL, -- of everything that was asked for, to know a repeat from another request
    batch text,
    model text NOT NULL,
    name text NOT NULL, -- of the document, as the client calls it
    options jsonb NOT NULL,
    page_ranges text NOT NULL,
    head_start interval NOT NULL, -- priority
    hook_url text,
    document text NOT NULL, -- key of the stored document
    document_bytes bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'done', 'failed', 'cancelled')),
    pages int,
    pages_done int NOT NULL DEFAULT 0,
    parts_left int,
    result text, -- folder of the stored result
    error text,
    failed_for text, -- the kind of failure, for metrics
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    hook_due timestamptz, -- when the webhook is to be called next; null: there is nothing to call
    hook_tries int NOT NULL DEFAULT 0,
    UNIQUE (key_name, repeat_key)
);
CREATE INDEX job_by_key ON job (key_name, created_at DESC, id DESC);
CREATE INDEX job_by_batch ON job (key_name, batch) WHERE batch IS NOT NULL;
CREATE INDEX job_open ON job (state) WHERE state IN ('pending', 'running');
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_hook_due ON job (hook_due) WHERE hook_due IS NOT NULL;

CREATE TABLE task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('split', 'range', 'join')),
    seq int NOT NULL DEFAULT 0,
    page_from int, -- of the pages that were asked for, from 1
    page_to int,
    state text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'done', 'failed', 'cancelled')),
    place timestamptz NOT NULL, -- in the queue: the job's arrival, less its head start, plus a step for each late part
    run_at timestamptz NOT NULL DEFAULT now(),
    away_since timestamptz, -- since when the pipeline API could not take it
    tries int NOT NULL DEFAULT 0,
    crashes int NOT NULL DEFAULT 0, -- times that its worker died with all that it held: perhaps its fault
    killed int NOT NULL DEFAULT 0, -- times that a process died which had nothing else, or the API while it read this
    owner uuid,
    epoch int NOT NULL DEFAULT 0,
    lease_until timestamptz,
    part text, -- key of the stored part
    UNIQUE (job_id, kind, seq)
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX task_ready ON task (place, id) WHERE state = 'ready';
CREATE INDEX task_leased ON task (lease_until) WHERE state = 'leased';
CREATE INDEX task_owner ON task (owner) WHERE state = 'leased';

-- Counters for metrics, which outlive jobs and processes.
CREATE TABLE tally (
    name text NOT NULL,
    kind text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (name, kind)
);

CREATE FUNCTION count_up(p_name text, p_kind text, p_more bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO tally AS t VALUES (p_name, p_kind, p_more)
    ON CONFLICT (name, kind) DO UPDATE SET value = t.value + p_more
$$;

-- What follows from the end of a job, wherever it ends.
CREATE FUNCTION job_ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.finished_at := clock_timestamp();
    IF NEW.hook_url IS NOT NULL THEN
        NEW.hook_due := clock_timestamp();
    END IF;
    PERFORM count_up('jobs', NEW.state, 1);
    IF NEW.state = 'failed' THEN
        PERFORM count_up('failures', NEW.failed_for, 1);
    END IF;
    PERFORM pg_notify('job_ended', NEW.id::text);
    RETURN NEW;
END $$;
CREATE TRIGGER job_ends BEFORE UPDATE OF state ON job FOR EACH ROW
    WHEN (OLD.state IN ('pending', 'running') AND NEW.state IN ('done', 'failed', 'cancelled'))
    EXECUTE FUNCTION job_ends();

-- Always after the job's row: its open tasks, by id.
CREATE FUNCTION lock_tasks(p_job uuid) RETURNS void LANGUAGE sql AS $$
    SELECT FROM task WHERE job_id = p_job AND state IN ('ready', 'leased') ORDER BY id FOR UPDATE
$$;

-- Ends a job and everything of it that is open. The job's row is locked already.
CREATE FUNCTION end_job(p_job uuid, p_state text, p_error text, p_kind text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_tasks(p_job);
    UPDATE task SET state = 'cancelled', owner = NULL, lease_until = NULL
        WHERE job_id = p_job AND state IN ('ready', 'leased');
    UPDATE job SET state = p_state, error = p_error, failed_for = p_kind
        WHERE id = p_job AND state IN ('pending', 'running');
END $$;

-- p_most_seq: null, or only a job's first parts. p_solo: only tasks with which twice something died; one worker runs
-- them one at a time, and where there is no such worker anybody takes them after five minutes.
CREATE FUNCTION claim_tasks(p_owner uuid, p_number int, p_lease interval, p_most_seq int, p_solo bool)
RETURNS TABLE (
    id bigint, job_id uuid, kind text, seq int, page_from int, page_to int, epoch int, tries int,
    away_for double precision, document text, pages int, options jsonb, page_ranges text
)
LANGUAGE sql AS $$
    WITH chosen AS (
        SELECT t.id FROM task t
        WHERE t.state = 'ready' AND t.run_at <= now() AND (p_most_seq IS NULL OR t.seq <= p_most_seq)
            AND CASE WHEN p_solo THEN greatest(t.crashes, t.killed) >= 2
                     ELSE greatest(t.crashes, t.killed) < 2 OR t.run_at < now() - interval '5 min' END
        ORDER BY t.place, t.id LIMIT p_number FOR UPDATE SKIP LOCKED)
    UPDATE task t SET state = 'leased', owner = p_owner, epoch = t.epoch + 1, tries = t.tries + 1,
        lease_until = clock_timestamp() + p_lease
    FROM chosen, job j WHERE t.id = chosen.id AND j.id = t.job_id
    RETURNING t.id, t.job_id, t.kind, t.seq, t.page_from, t.page_to, t.epoch, t.tries,
        coalesce(extract(epoch FROM clock_timestamp() - t.away_since), 0)::double precision,
        j.document, j.pages, j.options, j.page_ranges
$$;

-- Renews the leases that the worker knows of, by id: a claim whose answer was lost must run out.
CREATE FUNCTION renew_leases(p_owner uuid, p_ids bigint[], p_lease interval) RETURNS TABLE (id bigint, epoch int)
LANGUAGE sql AS $$
    WITH held AS (
        SELECT t.id FROM task t WHERE t.id = ANY (p_ids) AND t.owner = p_owner AND t.state = 'leased'
        ORDER BY t.id FOR UPDATE)
    UPDATE task t SET lease_until = clock_timestamp() + p_lease FROM held WHERE t.id = held.id RETURNING t.id, t.epoch
$$;

-- Gives back without blame what this owner holds.
CREATE FUNCTION release_tasks(p_owner uuid) RETURNS void LANGUAGE sql AS $$
    WITH held AS (SELECT id FROM task WHERE owner = p_owner AND state = 'leased' ORDER BY id FOR UPDATE)
    UPDATE task t SET state = 'ready', owner = NULL, lease_until = NULL, tries = t.tries - 1 FROM held WHERE t.id = held.id
$$;

CREATE FUNCTION split_done(p_job uuid, p_task bigint, p_owner uuid, p_epoch int, p_pages int, p_per int, p_step interval)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    j job;
    parts int := ceil(p_pages::numeric / p_per);
BEGIN
    SELECT * INTO j FROM job WHERE id = p_job FOR UPDATE;
    UPDATE task SET state = 'done', owner = NULL, lease_until = NULL
        WHERE id = p_task AND state = 'leased' AND owner = p_owner AND epoch = p_epoch;
    IF NOT FOUND OR j.state <> 'pending' THEN
        RETURN false;
    END IF;
    UPDATE job SET state = 'running', started_at = now(), pages = p_pages, parts_left = parts WHERE id = p_job;
    -- Small jobs are served as they come; what is large steps back from its fifth part on.
    INSERT INTO task (job_id, kind, seq, page_from, page_to, place)
        SELECT p_job, 'range', i, i * p_per + 1, least((i + 1) * p_per, p_pages),
            j.created_at - j.head_start + greatest(0, i - 3) * p_step
        FROM generate_series(0, parts - 1) i;
    PERFORM pg_notify('task_ready', '');
    RETURN true;
END $$;

CREATE FUNCTION range_done(p_job uuid, p_task bigint, p_owner uuid, p_epoch int, p_part text)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    j job;
    read int;
    open_parts int;
BEGIN
    SELECT * INTO j FROM job WHERE id = p_job FOR UPDATE;
    UPDATE task SET state = 'done', owner = NULL, lease_until = NULL, part = p_part
        WHERE id = p_task AND state = 'leased' AND owner = p_owner AND epoch = p_epoch
        RETURNING page_to - page_from + 1 INTO read;
    IF NOT FOUND OR j.state <> 'running' THEN
        RETURN false;
    END IF;
    UPDATE job SET pages_done = pages_done + read, parts_left = parts_left - 1 WHERE id = p_job
        RETURNING parts_left INTO open_parts;
    -- In the same transaction, under the job's lock: exactly one of two last parts sees none left.
    IF open_parts = 0 THEN
        INSERT INTO task (job_id, kind, place) VALUES (p_job, 'join', j.created_at - j.head_start);
        PERFORM pg_notify('task_ready', '');
    END IF;
    PERFORM count_up('pages', '', read);
    RETURN true;
END $$;

CREATE FUNCTION join_done(p_job uuid, p_task bigint, p_owner uuid, p_epoch int, p_result text)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    j job;
BEGIN
    SELECT * INTO j FROM job WHERE id = p_job FOR UPDATE;
    UPDATE task SET state = 'done', owner = NULL, lease_until = NULL
        WHERE id = p_task AND state = 'leased' AND owner = p_owner AND epoch = p_epoch;
    IF NOT FOUND OR j.state <> 'running' THEN
        RETURN false;
    END IF;
    UPDATE job SET state = 'done', result = p_result WHERE id = p_job;
    RETURN true;
END $$;

-- The task failed, not its worker. p_kind says how: 'away' is nobody's fault and costs no try; 'killed' may end the job
-- at the third time. p_again: when to try again; null: no more.
CREATE FUNCTION task_failed(
    p_job uuid, p_task bigint, p_owner uuid, p_epoch int, p_error text, p_kind text, p_again interval)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    t task;
BEGIN
    PERFORM FROM job WHERE id = p_job FOR UPDATE;
    PERFORM lock_tasks(p_job);
    SELECT * INTO t FROM task WHERE id = p_task AND state = 'leased' AND owner = p_owner AND epoch = p_epoch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_again IS NULL OR p_kind = 'killed' AND t.killed >= 2 THEN
        UPDATE task SET state = 'failed', owner = NULL, lease_until = NULL WHERE id = p_task;
        PERFORM end_job(p_job, 'failed', p_error, p_kind);
    ELSE
        UPDATE task SET state = 'ready', owner = NULL, lease_until = NULL, run_at = now() + p_again,
            tries = tries - (p_kind = 'away')::int, killed = killed + (p_kind = 'killed')::int,
            away_since = CASE WHEN p_kind = 'away' THEN coalesce(away_since, now()) END
            WHERE id = p_task;
        PERFORM count_up('retries', p_kind, 1);
    END IF;
    RETURN true;
END $$;

-- Takes back what dead workers held.
CREATE FUNCTION reap_tasks(p_lease interval, p_most int) RETURNS TABLE (task_id bigint, verdict text)
LANGUAGE plpgsql AS $$
DECLARE
    late record;
    t task;
BEGIN
    -- While the database was down every lease ran out: those who live get time to renew theirs first.
    IF pg_postmaster_start_time() > clock_timestamp() - p_lease / 2 THEN
        RETURN;
    END IF;
    FOR late IN
        SELECT l.id, l.job_id FROM task l WHERE l.state = 'leased' AND l.lease_until < clock_timestamp()
        ORDER BY l.job_id LIMIT 200
    LOOP
        PERFORM FROM job j WHERE j.id = late.job_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM lock_tasks(late.job_id);
        UPDATE task r SET crashes = r.crashes + 1, owner = NULL, lease_until = NULL, run_at = clock_timestamp(),
            state = CASE WHEN r.crashes + 1 >= p_most THEN 'failed' ELSE 'ready' END
            WHERE r.id = late.id AND r.state = 'leased' AND r.lease_until < clock_timestamp()
            RETURNING r.* INTO t;
        CONTINUE WHEN NOT FOUND;
        task_id := t.id;
        IF t.state = 'ready' THEN
            verdict := 'again';
            PERFORM count_up('retries', 'worker', 1);
            PERFORM pg_notify('task_ready', '');
        ELSE
            verdict := 'failed';
            PERFORM end_job(late.job_id, 'failed', format('its worker died %s times %s', t.crashes,
                CASE t.kind WHEN 'split' THEN 'while it looked for the pages'
                            WHEN 'range' THEN format('at pages %s to %s of those asked for', t.page_from, t.page_to)
                            ELSE 'while it put the pages together' END), 'worker');
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- The state in which the job is now; null for a job that is not there or somebody else's.
CREATE FUNCTION cancel_job(p_job uuid, p_key_name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    SELECT state INTO found FROM job WHERE id = p_job AND key_name = p_key_name FOR UPDATE;
    IF found IN ('pending', 'running') THEN
        PERFORM end_job(p_job, 'cancelled', 'cancelled', NULL);
        PERFORM pg_notify('job_cancelled', p_job::text);
        found := 'cancelled';
    END IF;
    RETURN found;
END $$;
