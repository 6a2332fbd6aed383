-- Ends a request whose body grows over BODY_BYTES (nobody is told the size of a chunked one beforehand), or takes
-- longer than BODY_SECONDS. A pause counts as 30 s at most, `timeout client`: waiting in the queue is one, too.
local MOST, SECONDS, PAUSE = tonumber(os.getenv("BODY_BYTES")), tonumber(os.getenv("BODY_SECONDS")), 30

local Body = { id = "body", flags = filter.FLT_CFG_FL_HTX }
Body.__index = Body

function Body:new()
    return setmetatable({ size = 0, spent = 0, last = core.now().sec }, Body)
end

function Body:start_analyze(txn, channel)
    if not channel:is_resp() then
        filter.register_data_filter(self, channel)
    end
end

function Body:http_payload(txn, message)
    local now = core.now().sec
    self.size = self.size + message:input()
    self.spent = self.spent + math.min(now - self.last, PAUSE)
    self.last = now
    local code = self.size > MOST + 1 and 413 or self.spent > SECONDS and 408
    if code then
        self:http_end(txn, message)
        txn:set_var("txn.code", code)
        txn:set_var("txn.why", code == 413 and "body" or "body-time")
        error("the body was ended by the door") -- only an error ends a request
    end
end

function Body:http_end(txn, message)
    if not message.channel:is_resp() then
        txn:set_var("txn.late_kib", self.size // 1024)
    end
end

core.register_filter("body", Body, function(body)
    return body
end)
