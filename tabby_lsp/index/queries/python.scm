(function_definition name: (identifier) @name body: (block) @body) @definition.function

(class_definition name: (identifier) @name body: (block) @body) @definition.class

(decorated_definition) @decorated

; older
(module (expression_statement (assignment left: (identifier) @name) @definition.variable))

; newer
(module (assignment left: (identifier) @name) @definition.variable)

; older
(class_definition body: (block (expression_statement (assignment left: (identifier) @name) @definition.variable)))

; newer
(class_definition body: (block (assignment left: (identifier) @name) @definition.variable))

(type_alias_statement . (type (identifier) @name)) @definition.type

; older
(block . (expression_statement (string) @doc))

; newer
(block . (string) @doc)

(import_statement name: (dotted_name) @import.module @import)

(import_statement name: (aliased_import name: (dotted_name) @import.module alias: (identifier) @import.alias) @import)

(import_from_statement module_name: (_) @import.module name: (dotted_name) @import.name) @import

(import_from_statement module_name: (_) @import.module (wildcard_import) @import.name) @import

(import_from_statement
  module_name: (_) @import.module
  name: (aliased_import name: (dotted_name) @import.name alias: (identifier) @import.alias) @import) @import.statement

(import_from_statement) @import.whole

(future_import_statement) @import.whole

(comment) @comment

(identifier) @reference

(ERROR) @error
