-- Models from Neovim: `:Tabby models`, how far a download is, and questions of the server that wait until nothing is
-- typed. What there is, what is fetched and what is loaded is the server's business.
local M = {}

local api = vim.api
local lsp = vim.lsp

---@type table<integer, string> by client: how far its download is, while there is one
local downloads = {}

local function is_typing()
  return vim.startswith(api.nvim_get_mode().mode, 'i') or vim.startswith(api.nvim_get_mode().mode, 'R')
end

--- The handler of `window/showMessageRequest`. Neovim asks at once, in the middle of a word; this waits for the end of
--- insert mode. Where nobody sees the question it has no answer.
function M.on_question(err, params, ctx)
  local co, is_main = coroutine.running()
  while co and not is_main and is_typing() do
    api.nvim_create_autocmd('ModeChanged', {
      pattern = '[iR]*:*',
      once = true,
      callback = vim.schedule_wrap(function()
        coroutine.resume(co)
      end),
    })
    coroutine.yield()
  end
  if #api.nvim_list_uis() == 0 then
    return vim.NIL
  end
  return lsp.handlers['window/showMessageRequest'](err, params, ctx)
end

--- How far the download of a client is, in one line: nil if there is none.
---@param client_id integer
---@return string?
function M.download(client_id)
  return downloads[client_id]
end

--- What an `LspProgress` says.
function M.on_progress(client_id, params)
  if not vim.startswith(tostring(params.token), 'tabby-lsp/download/') then
    return
  end
  local value = params.value
  if value.kind == 'end' then
    downloads[client_id] = nil
  else
    -- Neovim gives every report the title of its beginning.
    local percent = value.percentage and (' %d %%'):format(value.percentage) or ''
    downloads[client_id] = value.title .. percent .. (value.message and ': ' .. value.message or '')
  end
  vim.cmd.redrawstatus()
end

local function client_here()
  local client = lsp.get_clients({ name = 'tabby_lsp' })[1]
  if not client then
    vim.notify('tabby-lsp: the server does not run. Open a file first.', vim.log.levels.WARN)
  end
  return client
end

local function execute(command, argument, callback)
  local client = client_here()
  if client then
    local params = { command = command, arguments = { argument } }
    client:request('workspace/executeCommand', params, callback or function() end)
  end
end

local function line_of(row)
  local size = row.size >= 1e9 and ('%.2f GB'):format(row.size / 1e9) or ('%.0f MB'):format(row.size / 1e6)
  local where = row.place ~= '' and row.place or 'to fetch'
  local used = #row.usedFor > 0 and ', in use for ' .. table.concat(row.usedFor, ' and ') or ''
  local licence = row.licence .. (row.commercial == 'no' and ' (not for commercial use)' or '')
  return ('%s: %s, %s, %s%s'):format(row.name, row.size > 0 and size or 'size not known', licence, where, used)
end

--- Shows the models on this machine and those that would suit it; the one that is chosen completes from then on. One
--- that is not here is fetched, when the server's question about it is answered so.
function M.choose()
  execute('tabby.models', { silent = true }, function(err, result)
    if err or not result then
      return vim.notify('tabby-lsp: ' .. (err and err.message or 'no answer'), vim.log.levels.ERROR)
    end
    local rows = vim.tbl_filter(function(row)
      return #row.roles == 0 or vim.tbl_contains(row.roles, 'completion')
    end, result.models)
    vim.ui.select(rows, { prompt = 'The model that completes:', format_item = line_of }, function(row)
      if row then
        execute('tabby.useModel', { name = row.modelId })
      end
    end)
  end)
end

local subcommands = {
  models = M.choose,
  restart = function()
    execute('tabby.restart')
  end,
  stop = function() -- a download
    execute('tabby.downloadModel', { stop = true })
  end,
}

--- `:Tabby models`, `:Tabby stop`, `:Tabby restart`
function M.setup(group)
  api.nvim_create_user_command('Tabby', function(args)
    local run = subcommands[args.args]
    if run then
      run()
    else
      local names = table.concat(vim.fn.sort(vim.tbl_keys(subcommands)), ', ')
      vim.notify(('tabby-lsp: there is no :Tabby %s, but %s'):format(args.args, names), vim.log.levels.WARN)
    end
  end, {
    nargs = 1,
    desc = 'tabby-lsp: models, stop (a download), restart',
    complete = function(lead)
      return vim.tbl_filter(function(name)
        return vim.startswith(name, lead)
      end, vim.fn.sort(vim.tbl_keys(subcommands)))
    end,
  })
  api.nvim_create_autocmd('LspProgress', {
    group = group,
    callback = function(args)
      local client = lsp.get_client_by_id(args.data.client_id)
      if client and client.name == 'tabby_lsp' then
        M.on_progress(client.id, args.data.params)
      end
    end,
  })
end

return M
