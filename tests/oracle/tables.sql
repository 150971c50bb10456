-- The user's orders.
CREATE TABLE orders (
    id integer PRIMARY KEY,
    name text NOT NULL DEFAULT 'it''s new',
    total numeric
);

SELECT name, sum(total) AS total
  FROM orders
  JOIN customers USING (id)
 WHERE total > 0
   AND name <> 'none'
 GROUP BY name;
