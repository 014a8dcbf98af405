-- The rules of holds once more, in PostgreSQL: what `holdfast bench dual-run` compares Holdfast with, outcome by
-- outcome. Written from the interface, as plainly as SQL allows, without counters: what is free, held and sold is
-- counted from the rows each time. Every function answers a text that dual_core.c writes in the same words, after
-- the number of the hold that it is about. A hold's number is that of the command that placed it.
--
-- The setting dual.grace_ms is the planted difference: so much longer a hold lives than it was told.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS dual CASCADE;
CREATE SCHEMA dual;

CREATE TABLE dual.rule (units int, units_per_user_max int);
CREATE TABLE dual.seat (id int PRIMARY KEY, name text NOT NULL, state text NOT NULL, hold bigint, version int NOT NULL)
    WITH (fillfactor = 20);
CREATE TABLE dual.hold (id bigint PRIMARY KEY, user_id int NOT NULL, state text NOT NULL, deadline bigint NOT NULL,
    seats int[] NOT NULL, versions int[] NOT NULL, units int NOT NULL) WITH (fillfactor = 60);
CREATE INDEX hold_taken ON dual.hold (user_id) WHERE state IN ('held', 'confirmed');
CREATE INDEX hold_deadline ON dual.hold (deadline) WHERE state = 'held';
-- which hold a command was answered with: its own, or one that its user had already
CREATE TABLE dual.answered (command bigint PRIMARY KEY, hold bigint NOT NULL);
CREATE TABLE dual.key (user_id int, key int, request text NOT NULL, answer text NOT NULL, PRIMARY KEY (user_id, key));

CREATE FUNCTION dual.show(which bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT format('%s OK %s deadline=%s%s%s', h.id, h.state, h.deadline,
        (SELECT string_agg(' ' || name || ':' || shown.version, '' ORDER BY place)
           FROM unnest(h.seats, h.versions) WITH ORDINALITY AS shown (seat, version, place) JOIN dual.seat s ON s.id = seat),
        CASE WHEN h.units > 0 THEN ' p*' || h.units END)
    FROM dual.hold h WHERE h.id = which);
END $$;

-- What is over goes back on sale. Every command begins with this: from its deadline on a hold is expired.
CREATE FUNCTION dual.expire(now_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    grace bigint := coalesce(nullif(current_setting('dual.grace_ms', true), ''), '0')::bigint;
    over_seats int[];
BEGIN
    FOR over_seats IN UPDATE dual.hold SET state = 'expired' WHERE state = 'held' AND deadline <= now_ms - grace
        RETURNING seats LOOP
        UPDATE dual.seat SET state = 'free', hold = NULL, version = version + 1 WHERE id = ANY (over_seats);
    END LOOP;
END $$;

-- NULL: the key is new. A key belongs to its user, and only successes are remembered.
CREATE FUNCTION dual.replay(who int, its_key int, its_request text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT CASE WHEN request = its_request THEN answer ELSE '0 KEYREUSED' END
            FROM dual.key WHERE user_id = who AND key = its_key);
END $$;

CREATE FUNCTION dual.remember(who int, its_key int, its_request text, its_answer text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF its_key > 0 THEN
        INSERT INTO dual.key VALUES (who, its_key, its_request, its_answer);
    END IF;
    RETURN its_answer;
END $$;

-- NULL: it is free.
CREATE FUNCTION dual.refuse_seat(asked int, who int) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT '0 ' || CASE s.state WHEN 'held' THEN 'HELD ' ELSE 'SOLD ' END || s.name
                || ' remaining=' || (SELECT count(*) FROM dual.seat WHERE state = 'free')
                || CASE WHEN s.state = 'held' THEN ' next=' || h.deadline ELSE '' END
                || CASE WHEN s.state = 'held' AND h.user_id = who THEN ' own' ELSE '' END
            FROM dual.seat s JOIN dual.hold h ON h.id = s.hold WHERE s.id = asked AND s.state <> 'free');
END $$;

-- NULL: there are so many. Fewer, but with those that are held there would be enough: they may come back.
CREATE FUNCTION dual.refuse_units(asked int) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    held int;
    sold int;
    next_ms bigint;
    free int;
BEGIN
    SELECT coalesce(sum(units) FILTER (WHERE state = 'held'), 0), coalesce(sum(units) FILTER (WHERE state = 'confirmed'), 0),
           min(deadline) FILTER (WHERE state = 'held' AND units > 0)
    INTO held, sold, next_ms FROM dual.hold WHERE state IN ('held', 'confirmed');
    SELECT units - held - sold INTO free FROM dual.rule;
    RETURN CASE WHEN free >= asked THEN NULL
                WHEN free + held >= asked THEN format('0 HELDOUT p remaining=%s next=%s', free, next_ms)
                ELSE format('0 SOLDOUT p remaining=%s', free) END;
END $$;

-- seat_1, seat_2: from 1; 0 is none
CREATE FUNCTION dual.place(command bigint, now_ms bigint, who int, its_key int, seat_1 int, seat_2 int, wanted_units int,
    seconds int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    request text := format('hold %s %s %s %s', seat_1, seat_2, wanted_units, seconds);
    wanted int[] := array_remove(ARRAY[seat_1, seat_2], 0);
    most int := (SELECT units_per_user_max FROM dual.rule);
    used int;
    found bigint;
    answer text;
    refusal text;
BEGIN
    PERFORM dual.expire(now_ms);
    answer := dual.replay(who, its_key, request);
    IF answer IS NOT NULL THEN
        IF answer NOT LIKE '0 %' THEN
            INSERT INTO dual.answered VALUES (command, split_part(answer, ' ', 1)::bigint);
        END IF;
        RETURN answer;
    END IF;
    wanted := ARRAY(SELECT seat - 1 FROM unnest(wanted) WITH ORDINALITY AS w (seat, place) ORDER BY place);
    -- one's own same hold: these seats and no others, in any order
    IF wanted_units = 0 THEN
        SELECT id INTO found FROM dual.hold WHERE user_id = who AND state = 'held' AND units = 0
            AND seats @> wanted AND seats <@ wanted;
        IF found IS NOT NULL THEN
            INSERT INTO dual.answered VALUES (command, found);
            RETURN dual.remember(who, its_key, request, dual.show(found));
        END IF;
    END IF;
    SELECT coalesce(sum(cardinality(seats) + units), 0) INTO used FROM dual.hold
        WHERE user_id = who AND state IN ('held', 'confirmed');
    IF used + cardinality(wanted) + wanted_units > most THEN
        RETURN format('0 LIMIT limit=%s used=%s', most, used);
    END IF;
    FOR i IN 1 .. cardinality(wanted) LOOP
        refusal := dual.refuse_seat(wanted[i], who);
        IF refusal IS NOT NULL THEN
            RETURN refusal;
        END IF;
    END LOOP;
    IF wanted_units > 0 THEN
        refusal := dual.refuse_units(wanted_units);
        IF refusal IS NOT NULL THEN
            RETURN refusal;
        END IF;
    END IF;
    UPDATE dual.seat SET state = 'held', hold = command, version = version + 1 WHERE id = ANY (wanted);
    INSERT INTO dual.hold VALUES (command, who, 'held', now_ms + seconds * 1000, wanted,
        ARRAY(SELECT version FROM unnest(wanted) WITH ORDINALITY AS w (seat, place) JOIN dual.seat s ON s.id = seat
              ORDER BY place), wanted_units);
    INSERT INTO dual.answered VALUES (command, command);
    RETURN dual.remember(who, its_key, request, dual.show(command));
END $$;

-- The hold that an earlier command was answered with, where it is this user's; else NULL.
CREATE FUNCTION dual.find(of_command bigint, who int) RETURNS dual.hold LANGUAGE plpgsql STABLE AS $$
DECLARE
    it dual.hold;
BEGIN
    SELECT h.* INTO it FROM dual.answered a JOIN dual.hold h ON h.id = a.hold
        WHERE a.command = of_command AND h.user_id = who;
    RETURN it;
END $$;

CREATE FUNCTION dual.confirm(of_command bigint, now_ms bigint, who int, its_key int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    request text := format('confirm %s', (SELECT hold FROM dual.answered WHERE command = of_command));
    answer text;
    it dual.hold;
BEGIN
    PERFORM dual.expire(now_ms);
    answer := dual.replay(who, its_key, request);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    it := dual.find(of_command, who);
    IF it.id IS NULL THEN
        RETURN '0 NOHOLD';
    ELSIF it.state NOT IN ('held', 'confirmed') THEN
        RETURN '0 ' || upper(it.state);
    ELSIF it.state = 'held' THEN
        UPDATE dual.seat SET state = 'sold', version = version + 1 WHERE id = ANY (it.seats);
        UPDATE dual.hold SET state = 'confirmed', versions = ARRAY(SELECT v + 1 FROM unnest(versions) v) WHERE id = it.id;
    END IF;
    RETURN dual.remember(who, its_key, request, dual.show(it.id));
END $$;

CREATE FUNCTION dual.release(of_command bigint, now_ms bigint, who int, its_key int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    request text := format('release %s', (SELECT hold FROM dual.answered WHERE command = of_command));
    answer text;
    it dual.hold;
BEGIN
    PERFORM dual.expire(now_ms);
    answer := dual.replay(who, its_key, request);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    it := dual.find(of_command, who);
    IF it.id IS NULL THEN
        RETURN '0 NOHOLD';
    ELSIF it.state NOT IN ('held', 'released') THEN
        RETURN '0 ' || upper(it.state);
    ELSIF it.state = 'held' THEN
        UPDATE dual.seat SET state = 'free', hold = NULL, version = version + 1 WHERE id = ANY (it.seats);
        UPDATE dual.hold SET state = 'released' WHERE id = it.id;
    END IF;
    RETURN dual.remember(who, its_key, request, dual.show(it.id));
END $$;

-- The operator's: it asks for no user.
CREATE FUNCTION dual.cancel(of_command bigint, now_ms bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    it dual.hold;
BEGIN
    PERFORM dual.expire(now_ms);
    SELECT h.* INTO it FROM dual.answered a JOIN dual.hold h ON h.id = a.hold WHERE a.command = of_command;
    IF it.id IS NULL THEN
        RETURN '0 NOHOLD';
    ELSIF it.state = 'held' THEN
        RETURN '0 NOTCONFIRMED';
    ELSIF it.state NOT IN ('confirmed', 'cancelled') THEN
        RETURN '0 ' || upper(it.state);
    ELSIF it.state = 'confirmed' THEN
        UPDATE dual.seat SET state = 'free', hold = NULL, version = version + 1 WHERE id = ANY (it.seats);
        UPDATE dual.hold SET state = 'cancelled' WHERE id = it.id;
    END IF;
    RETURN dual.show(it.id);
END $$;
