-- Ghost text of tabby-lsp in Neovim 0.12: keys, a status for the statusline, and what the inline completion of
-- Neovim 0.12.4 lacks. What is suggested is the server's business alone.
local models = require('tabby_lsp.models')

local M = {}

local api = vim.api
local lsp = vim.lsp
local namespace = api.nvim_create_namespace('nvim.lsp.inline_completion')

---@class tabby_lsp.Keys
---@field accept string|false
---@field next string|false also asks for a suggestion where none is shown
---@field previous string|false

---@type tabby_lsp.Keys
local keys = { accept = '<Tab>', next = '<M-]>', previous = '<M-[>' }

---@type table<integer, table> by client: what each `tabby/status/didChange` has said, the last on top
local statuses = {}

---@type table<integer, { count: integer, text: string }> by buffer: what is to be shown once its others have come
local cycling = {}

local function is_our_client(client_id)
  local client = lsp.get_client_by_id(client_id)
  return client ~= nil and client.name == 'tabby_lsp'
end

local function is_ours(item)
  return item ~= nil and item.range ~= nil and is_our_client(item.client_id)
end

--- What an item would replace now, in columns of its row, after some typing: nil if it no longer continues the line.
---@return integer? row, integer? first, integer? last
local function place_now(bufnr, item)
  local row, first, _, last = item.range:to_extmark()
  local cursor = api.nvim_win_get_cursor(0)
  if api.nvim_get_current_buf() ~= bufnr or cursor[1] ~= row + 1 then
    return nil
  end
  local line = api.nvim_get_current_line()
  -- Seen for the first time, an item fits the line as it is. Later the line must still be the same on both sides.
  item.left = item.left or line:sub(1, first)
  item.right = item.right or line:sub(last + 1)
  local typed = line:sub(first + 1, cursor[2])
  last = #line - #item.right
  local fits = cursor[2] >= first
    and cursor[2] <= last
    and vim.startswith(line, item.left)
    and vim.endswith(line, item.right)
    and vim.startswith(item.insert_text, typed)
    and item.insert_text ~= typed
  if fits then
    return row, first, last
  end
end

--- Neovim's completor of this buffer, which is internal: nil where a newer Neovim has none.
local function completor_of(bufnr)
  return vim.tbl_get(lsp, '_capability', 'all', 'inline_completion', 'active', bufnr)
end

local function forget_misfit(completor)
  local item = completor.current
  if is_ours(item) and not place_now(completor.bufnr, item) then
    completor.current = nil
  end
end

--- Draws an item that fits so that the buffer looks as it will when it is accepted.
local function draw(bufnr, item, hint)
  local row, first, last = place_now(bufnr, item)
  local column = api.nvim_win_get_cursor(0)[2]
  local line = api.nvim_get_current_line()
  local lines = vim.split(item.insert_text:sub(column - first + 1), '\n')
  local chunks = vim.tbl_map(function(text)
    return { { text, 'ComplHint' } }
  end, lines)
  local after = line:sub(last + 1)
  -- What is replaced, or moves down, has to be drawn over. So what follows it is covered too, and drawn anew.
  local over = last > column or (#lines > 1 and after ~= '')
  if over then
    table.insert(chunks[#chunks], { after, 'Normal' })
    local drawn = #lines[1] + (#lines == 1 and #after or 0)
    table.insert(chunks[1], { (' '):rep(#line - column - drawn), 'Normal' })
  end
  if hint then
    table.insert(chunks[#chunks], { hint, 'ComplHintMore' })
  end
  api.nvim_buf_set_extmark(bufnr, namespace, row, column, {
    virt_text = table.remove(chunks, 1),
    virt_lines = chunks,
    virt_text_pos = over and 'overlay' or 'inline',
    hl_mode = 'combine',
  })
end

--- Neovim 0.12.4 shows an item for as long as its row exists, without its first characters, as many as were typed,
--- whatever they were. It leaves out what stands right of the cursor, whether the item replaces that or not, and
--- shows answers to questions about older text. It asks late. Where a newer Neovim has another completor this does
--- nothing.
local function mend_inline_completion()
  local completor = lsp.inline_completion and vim.tbl_get(lsp, '_capability', 'all', 'inline_completion')
  if not (completor and completor.show and completor.hide and completor.handler) then
    return
  end
  local show, handler, automatic_request = completor.show, completor.handler, completor.automatic_request
  completor.show = function(self, hint)
    if not is_ours(self.current) then
      return show(self, hint)
    end
    self:hide()
    forget_misfit(self)
    if self.current then
      draw(self.bufnr, self.current, hint)
    end
  end
  -- Neovim asks 200 ms after a key. The server knows how long it is worth waiting on this machine, mostly not at all.
  completor.automatic_request = function(self)
    if not (self.reset_timer and vim.iter(pairs(self.client_state)):all(is_our_client)) then
      return automatic_request and automatic_request(self)
    end
    self:show()
    self:reset_timer()
    self.timer = vim.defer_fn(function()
      self:request(lsp.protocol.InlineCompletionTriggerKind.Automatic)
    end, 0)
  end
  completor.handler = function(self, err, result, ctx)
    if is_our_client(ctx.client_id) and result then
      if ctx.version ~= lsp.util.buf_versions[self.bufnr] then
        return -- the text has changed, so another question is on its way
      end
      for _, item in ipairs(result.items or result) do
        -- A buffer's lines end in nothing, whatever its file's do.
        item.insertText = item.insertText:gsub('\r\n?', '\n')
      end
    end
    handler(self, err, result, ctx)
    local wanted = cycling[self.bufnr]
    cycling[self.bufnr] = nil
    if wanted and self.current and self.current.insert_text == wanted.text and self:count_items() > 1 then
      lsp.inline_completion.select({ bufnr = self.bufnr, count = wanted.count })
    end
  end
end

--- Neovim 0.12.4 accepts an item at the place it was made for, and leaves what was typed since behind it.
local function on_accept(item)
  if not is_ours(item) then
    return item
  end
  local bufnr = api.nvim_get_current_buf()
  local row, first, last = place_now(bufnr, item)
  if not row then
    return nil
  end
  item.range = vim.range.lsp(bufnr, {
    start = { line = row, character = first },
    ['end'] = { line = row, character = last },
  }, 'utf-8')
  vim.go.undolevels = vim.go.undolevels -- |undo-break|: `u` takes back the suggestion, not what was typed before
  return item
end

--- Does what a key does without us: a mapping that is not for one buffer, such as Neovim's own of <Tab>, or itself.
local function press(key)
  local code = vim.keycode(key)
  for _, map in ipairs(api.nvim_get_keymap('i')) do
    if map.lhsraw == code and map.callback and map.expr == 1 then
      code = vim.keycode(map.callback() or '')
    end
  end
  api.nvim_feedkeys(code, 'in', false)
end

--- Accepts what is shown. False if nothing is.
---@return boolean
function M.accept()
  local completor = completor_of(api.nvim_get_current_buf())
  if completor then
    forget_misfit(completor) -- of keys that come at once the last gets here before the event that follows the first
  end
  return lsp.inline_completion.get({ on_accept = on_accept })
end

--- Shows the `count`th next suggestion (previous, if negative). The server has others than the one that came by
--- itself where it is asked for them; where none is shown, it is asked for the first.
---@param count integer
function M.cycle(count)
  local completor = completor_of(api.nvim_get_current_buf())
  local alone = completor and is_ours(completor.current) and completor.count_items and completor:count_items() == 1
  if completor and completor.request and (alone or not completor.current) then
    cycling[completor.bufnr] = alone and { count = count, text = completor.current.insert_text } or nil
    completor:request(lsp.protocol.InlineCompletionTriggerKind.Invoked)
  else
    lsp.inline_completion.select({ count = count })
  end
end

--- The server's status in one line, or how far the download of a model is: '' in buffers that it does not serve.
---@param bufnr? integer
---@return string
function M.status(bufnr)
  local client = lsp.get_clients({ name = 'tabby_lsp', bufnr = bufnr or 0 })[1]
  return client and (models.download(client.id) or vim.tbl_get(statuses, client.id, 'tooltip')) or ''
end

--- The handler of `tabby/status/didChange`.
function M.on_status(client_id, status)
  statuses[client_id] = vim.tbl_extend('force', statuses[client_id] or {}, status)
  vim.cmd.redrawstatus()
end

local function attach(bufnr)
  lsp.inline_completion.enable(true, { bufnr = bufnr })
  local function map(key, callback, desc)
    if key then
      vim.keymap.set('i', key, callback, { buffer = bufnr, desc = 'tabby-lsp: ' .. desc })
    end
  end
  map(keys.accept, function()
    if not M.accept() then
      press(keys.accept)
    end
  end, 'accept the suggestion')
  map(keys.next, function()
    M.cycle(1)
  end, 'next suggestion, or ask for one')
  map(keys.previous, function()
    M.cycle(-1)
  end, 'previous suggestion')
end

--- Starts the server for every file that is opened, and shows what it suggests.
---@param options? { keys?: tabby_lsp.Keys } a key that is `false` is not mapped
function M.setup(options)
  if not lsp.inline_completion then
    vim.notify('tabby-lsp: ghost text needs Neovim 0.12', vim.log.levels.WARN)
    return
  end
  keys = vim.tbl_extend('force', keys, options and options.keys or {})
  local group = api.nvim_create_augroup('tabby_lsp', {})
  api.nvim_create_autocmd('LspAttach', {
    group = group,
    callback = function(args)
      if is_our_client(args.data.client_id) then
        attach(args.buf)
      end
    end,
  })
  models.setup(group)
  lsp.enable('tabby_lsp')
end

mend_inline_completion()

return M
