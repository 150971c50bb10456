-- For vim.lsp.enable('tabby_lsp'). To change something: vim.lsp.config('tabby_lsp', { cmd = …, init_options = … }).
---@type vim.lsp.Config
return {
  cmd = { 'tabby-lsp' },
  -- No `filetypes`: every file. Without a root a file is served all the same.
  root_markers = { '.git' },
  capabilities = { experimental = { tabby = { statusDidChangeListener = true } } },
  handlers = {
    ['tabby/status/didChange'] = function(_, status, ctx)
      require('tabby_lsp').on_status(ctx.client_id, status)
    end,
    ['window/showMessageRequest'] = function(...)
      return require('tabby_lsp.models').on_question(...)
    end,
  },
}
