local Cart = {}
Cart.__index = Cart

--- The user's cart.
function Cart.new(items)
  local self = setmetatable({}, Cart)
  self.items = items or {}
  return self
end

function Cart:total()
  local sum = 0
  for _, item in ipairs(self.items) do
    if item.count > 0 then
      sum = sum + item.price * item.count
    else
      print("it's empty: " .. item.name)
    end
  end
  return sum
end

return Cart
