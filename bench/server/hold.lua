-- wrk: POST of a hold of one random seat by a random user; the same request whoever the server is.
local users, floor, random = 10000000, math.floor, math.random
wrk.method = "POST"
wrk.path = "/v1/events/bench/holds"
wrk.headers["Content-Type"] = "application/json"

function request()
    return wrk.format(nil, nil, nil, string.format('{"user":"u%d","seats":["%d/%d/%d"]}', random(users),
        random(10) - 1, random(1000), random(1000)))
end

-- One line that run.py reads. Refusals (409) are answers, too; what broke is no answer.
done = function(summary, latency)
    io.write(string.format("figures answers=%d refused=%d broken=%d us=%d p50_us=%d p99_us=%d p999_us=%d\n",
        summary.requests, summary.errors.status,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, summary.duration,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
