---@meta gregale
-- SPDX-License-Identifier: Apache-2.0
-- The module's types, for LuaLS; scripts/dev/lua-reference makes the reference from the same lines. Types are written
-- without spaces. unit.script compares the names below with those that the module has. Nothing here is run.

---Models that generate text, sessions on them, and branches that run side by side.
---@class gregale
---@field version string the library's version, "0.1.0"
---@field null lightuserdata null in a JSON schema
local gregale = {}

---@class gregale.configure_options
---@field threads? integer worker threads; 0: one a physical core
---@field deterministic? boolean only paths whose bits do not depend on batching
---@field fusion? boolean composite operations; true when absent
---@field trace? string a file that receives a Chrome trace at the end

---Settings of the engine, before the first load.
---@param options gregale.configure_options
function gregale.configure(options) end

---@class gregale.device
---@field name string
---@field description string
---@field plugin string path of the backend
---@field why string where its score comes from
---@field score number
---@field memory_bytes integer

---The devices there are, best first.
---@return gregale.device[] devices
function gregale.devices() end

---@class gregale.why_options
---@field json? boolean as JSON

---The machine's facts, plugins found or refused, scores and the choice.
---@param options? gregale.why_options
---@return string text
function gregale.why(options) end

---@class gregale.load_options
---@field path? string the file; also the table's first entry
---@field [1]? string the same
---@field device? string a device's name; "auto" when absent
---@field split? string layers on several devices, "cpu:20,far:12", or "auto"
---@field context? integer most tokens of its sessions
---@field sliding_window? integer|false in place of the file's; false: none
---@field chat_format? string in place of the file's
---@field threads? integer worker threads, where no engine runs yet
---@field chunk? integer most tokens of a prompt in one step
---@field cache_type? "f32"|"f16"|"bf16"|"q8_0" what keys and values are kept in
---@field cache_limit? integer|string bytes, or "512M"
---@field page_tokens? integer positions in a page of the cache
---@field rewind_reserve? integer tokens that can always be taken back without evaluating again

---Loads a model. Raises what is wrong with the file.
---@param path string|gregale.load_options a path, or a table with one
---@param options? gregale.load_options behind a path
---@return gregale.model model
function gregale.load(path, options) end

---@class gregale.branches
---@field [integer] fun():any,...
---@field errors? "raise"|"collect" what becomes of errors; "raise" when absent

---@class gregale.results
---@field [integer] any the first result of each
---@field n integer how many
---@field errors? table<integer,any> with "collect": what was raised, by number

---Runs functions side by side; their generation calls advance in one batch.
---@param branches gregale.branches
---@return gregale.results results
function gregale.parallel(branches) end

---@class gregale.map_options
---@field concurrency? integer most at once; 64 when absent
---@field errors? "raise"|"collect" as of parallel

---Runs f(element, number) for each element as a branch.
---@param list any[]
---@param f fun(element:any,number:integer):any,...
---@param options? gregale.map_options
---@return gregale.results results in the list's order
function gregale.map(list, f, options) end

---@class gregale.device_event
---@field kind "lost"|"timeout"|"memory"
---@field device string
---@field next? string where its sessions go on; nil: nowhere
---@field message string
---@field sessions integer how many it held

---Has a function called between steps when a device has failed.
---@param f fun(event:gregale.device_event)|nil nil: nobody is told
function gregale.on_device_event(f) end

---A value as JSON text; as in a schema, an empty table is an object.
---@param value any
---@return string text
function gregale.to_json(value) end

---The value that a JSON text stands for; null is gregale.null.
---@param text string
---@return any value
---@return string|nil message what is wrong with the text
function gregale.from_json(text) end

---Whether what pcall caught is the error that an interrupt (Ctrl-C) raised.
---@param error any
---@return boolean
function gregale.interrupted(error) end

---Seconds of a clock that only goes forward.
---@return number seconds
function gregale.clock() end

---A model.
---@class gregale.model
local model = {}

---@class gregale.model_info
---@field path string
---@field name string
---@field architecture string
---@field tokenizer string
---@field chat_format string "": none
---@field device string
---@field notice string what the file lacked, and what was done about it
---@field layers integer
---@field dim integer
---@field ffn_dim integer
---@field heads integer
---@field kv_heads integer
---@field head_dim integer
---@field vocab integer
---@field context_train integer
---@field window_min integer
---@field window_max integer 0: no window
---@field windowed_layers integer
---@field parameters integer
---@field weight_bytes integer
---@field resident_bytes integer
---@field fingerprint string
---@field cache_type string

---What the model is.
---@return gregale.model_info info
function model:info() end

---@class gregale.tokenize_options
---@field special? boolean the beginning token, too
---@field parse_control? boolean control tokens may be spelled; for trusted text only

---The tokens of a text.
---@param text string
---@param options? gregale.tokenize_options
---@return integer[] tokens
function model:tokenize(text, options) end

---@class gregale.detokenize_options
---@field render_control? boolean control tokens are spelled out

---The bytes of tokens.
---@param tokens integer|integer[]
---@param options? gregale.detokenize_options
---@return string text
function model:detokenize(tokens, options) end

---Whether the token ends an answer.
---@param token integer
---@return boolean ends
function model:is_end(token) end

---@class gregale.session_options
---@field system? string a system prompt
---@field context? integer most tokens
---@field priority? number higher ones go first where memory is short
---@field tools? string function definitions, a JSON array
---@field encoder? fun(turns:gregale.turn[]):string in place of the chat format

---A new session.
---@param options? gregale.session_options
---@return gregale.session session
function model:session(options) end

---@class gregale.restore_options
---@field context? integer most tokens
---@field priority? number as of a new session
---@field answer? boolean also the stream of an answer that was in progress

---The session that a snapshot holds.
---@param path string
---@param options? gregale.restore_options
---@return gregale.session session
---@return gregale.stream|nil answer with `answer`
function model:restore(path, options) end

---@class gregale.move_options
---@field progress? fun(info:gregale.move_info):boolean|nil called at every step of the move; false cancels
---@field check? boolean false: no token is compared first
---@field bound? number the largest distance of logits allowed
---@field shadow? integer so many tokens are evaluated on both devices first
---@field policy? "if-equal"|"anyway"|"never" what then

---@class gregale.move_info
---@field stage "prepare"|"copy"|"check"|"shadow"|"done"
---@field progress number of prepare, 0 to 1
---@field from string
---@field to string
---@field steps integer
---@field pages integer
---@field bytes integer
---@field prepare_seconds number
---@field copy_seconds number
---@field check_seconds number
---@field pause_seconds number
---@field compared integer
---@field agreed integer
---@field difference number
---@field bound number
---@field first_divergence? integer nil: none

---All its sessions, and those to come, go on on another device.
---@param device string a name, "auto", or layers on several
---@param options? gregale.move_options
---@return gregale.move_info info
function model:move(device, options) end

---Lets go of it; its sessions keep it alive.
function model:close() end

---A list of tokens and the cache behind it. `#session` is its length.
---@class gregale.session
---@operator len:integer
local session = {}

---Continues the text.
---@param text string|integer|integer[] text, a token, or tokens
---@return gregale.session self
function session:append(text) end

---A system prompt.
---@param text string
---@return gregale.session self
function session:system(text) end

---A turn of the user.
---@param text string
---@return gregale.session self
function session:user(text) end

---@class gregale.assistant_options
---@field tool_calls? gregale.tool_call[] what the turn calls

---A turn of the assistant.
---@param text string
---@param options? gregale.assistant_options
---@return gregale.session self
function session:assistant(text, options) end

---@class gregale.tool_options
---@field id? string of the call
---@field name? string of the function

---The result of a tool call.
---@param text string
---@param options? gregale.tool_options
---@return gregale.session self
function session:tool(text, options) end

---Offers function definitions to the model.
---@param json string|nil a JSON array; nil: none
---@return gregale.session self
function session:tools(json) end

---@class gregale.tool_call
---@field name string
---@field arguments string JSON, as the model wrote it
---@field id? string nil in formats without

---@class gregale.turn
---@field role "system"|"user"|"assistant"|"tool"
---@field text string
---@field tool_calls? gregale.tool_call[] where the assistant called

---The conversation so far.
---@return gregale.turn[] turns
function session:turns() end

---Drops the turns behind the first ones.
---@param count integer so many stay
---@return gregale.session self
function session:keep_turns(count) end

---Encodes the turns now.
---@return gregale.session self
function session:apply_turns() end

---A function that encodes conversations in place of the chat format.
---@param f (fun(turns:gregale.turn[]):string)|nil nil: back to that
---@return gregale.session self
function session:encoder(f) end

---@class gregale.generate_options
---@field n? integer so many answers, a list; of generate alone
---@field best_of? integer the n best of so many; of generate alone
---@field max_tokens? integer
---@field temperature? number 0 is greedy
---@field sampler? string a chain, such as "top-k(40);min-p(0.05);temperature(0.8)"
---@field seed? integer
---@field stop? string|string[] ends the answer, and is no part of it
---@field stop_tokens? integer|integer[] a token that ends the answer, and is no part of it
---@field max_seconds? number ends the answer so long after it began
---@field ignore_end? boolean goes on past the end token
---@field raw? boolean no chat turn is opened
---@field choose? fun(logits:gregale.logits):integer,... picks each token in place of the sampler
---@field choose_instructions? integer most instructions of one call of `choose` (100000000)
---@field top? integer so many of the likeliest tokens are noted beside each
---@field heal? boolean the prompt's last token is chosen again with what follows
---@field banned? string|string[] never occurs
---@field logit_bias? table<integer|string,number> added to logits, by token or text
---@field guide? gregale.session logits move away from this session's
---@field guidance? number how far; 1.5 when absent
---@field guesses? integer so many tokens are guessed ahead and checked in one step
---@field draft? gregale.session of a smaller model, which guesses
---@field json_schema? table|string the answer satisfies it
---@field regex? string the answer matches it
---@field grammar? string GBNF; the answer is one of its texts
---@field one_of? string[] the answer is one of these

---@class gregale.token_choice
---@field token integer
---@field log_probability number

---@class gregale.generate_info
---@field stop_reason "none"|"end"|"limit"|"text"|"context"|"cancelled"|"error"|"token"|"time"
---@field prompt_tokens integer
---@field generated_tokens integer
---@field seed integer the one used
---@field tool_calls gregale.tool_call[]
---@field prefill_seconds number
---@field decode_seconds number
---@field tokens_per_second? number where there are two or more
---@field tokens integer[]
---@field log_probabilities number[] natural logarithms, before sampling
---@field tool_error? string why what looked like a call is none
---@field top? gregale.token_choice[][] with `top`: for each token the likeliest
---@field rewinds integer because of banned strings
---@field guessed integer
---@field guessed_right integer

---@class gregale.answer
---@field text string
---@field info gregale.generate_info
---@field score number the mean log-probability of its tokens
---@field session gregale.session a fork that ends with it

---Answers, or goes on. With `n` or `best_of` the result is a list, best first, and the session stays as it was.
---@param options? gregale.generate_options
---@return string|any text with n or best_of: gregale.answer[]
---@return gregale.generate_info info of one answer
function session:generate(options) end

---An answer while it is being generated: an iterator over pieces of text.
---@param options? gregale.generate_options
---@return gregale.stream stream
function session:stream(options) end

---@class gregale.choose_options
---@field [integer] string
---@field append? boolean the choice is appended

---The likeliest continuation.
---@param options gregale.choose_options
---@return string option
---@return integer index
---@return number[] probabilities of the options among each other
function session:choose(options) end

---How likely a continuation is.
---@param text string|integer[] text or tokens
---@return number sum of the log-probabilities
---@return number[] each NaN for the first of an empty session
---@return integer[] tokens
function session:score(text) end

---@class gregale.embed_options
---@field pool? "mean"|"last" of the tokens' vectors; "mean" when absent

---A vector for a text behind the session.
---@param text string|integer[] text or tokens
---@param options? gregale.embed_options
---@return number[] vector
function session:embed(text, options) end

---Brings the cache up to date.
---@return gregale.session self
function session:evaluate() end

---The numbers behind the last token.
---@return gregale.logits logits
function session:logits() end

---A new session with the same tokens, turns and cache.
---@return gregale.session fork
function session:fork() end

---Goes back.
---@param count integer so many tokens stay
---@return gregale.session self
function session:rewind(count) end

---Whether that needs no evaluating again.
---@param count integer
---@return boolean can
function session:can_rewind(count) end

---Pins the cache at the present end, so that this session and its forks can come back to it.
---@return integer position
function session:anchor() end

---Undoes that.
---@param position integer
---@return gregale.session self
function session:drop_anchor(position) end

---Writes a snapshot, whole or not at all.
---@param path string
---@return gregale.session self
function session:save(path) end

---Its tokens.
---@return integer[] tokens
function session:tokens() end

---Goes on on another device.
---@param device string a name, "auto", or layers on several
---@param options? gregale.move_options
---@return gregale.move_info info
function session:move(device, options) end

---Where it lives.
---@return string device
function session:device() end

---Its model.
---@return gregale.model model
function session:model() end

---@class gregale.session_stats
---@field positions integer
---@field resident_positions integer
---@field pages integer
---@field shared_pages integer
---@field evicted_pages integer
---@field cache_bytes integer
---@field own_bytes integer in pages nobody else holds
---@field full_bytes integer what a cache without windows would take
---@field prefill_tokens integer
---@field decode_tokens integer
---@field steps integer
---@field prefill_seconds number
---@field decode_seconds number
---@field preemptions integer how often its pages went to others

---What it costs, and has done.
---@return gregale.session_stats stats
function session:stats() end

---Lets go of it.
function session:close() end

---An answer while it is being generated. Called, it returns the next piece, nil at the end.
---@class gregale.stream
---@operator call:string|nil
---@overload fun():string|nil
local stream = {}

---All of the text so far.
---@return string text
function stream:text() end

---How it went.
---@return gregale.generate_info info
function stream:info() end

---Ends it; what there is stays.
function stream:cancel() end

---Ends it; what there is becomes the turn.
function stream:close() end

---A view of logits, by token from 0. Stale, and raises, once the session goes on.
---@class gregale.logits
---@field [integer] number
---@operator len:integer
local logits = {}

---The largest.
---@return integer token
---@return number logit
function logits:argmax() end

---@class gregale.logit
---@field token integer
---@field logit number
---@field log_probability number

---The likeliest.
---@param count integer
---@return gregale.logit[] list best first
function logits:top(count) end

---The natural logarithm of a token's probability.
---@param token integer
---@return number log_probability
function logits:log_probability(token) end

---Whether the session went on since.
---@return boolean stale
function logits:is_stale() end

return gregale
