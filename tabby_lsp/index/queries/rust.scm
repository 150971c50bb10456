(function_item name: (identifier) @name body: (block) @body) @definition.function

(function_signature_item name: (identifier) @name) @definition.function

(struct_item name: (type_identifier) @name) @definition.class

(struct_item name: (type_identifier) @name body: (_) @body) @definition.class

(enum_item name: (type_identifier) @name body: (_) @body) @definition.class

(union_item name: (type_identifier) @name body: (_) @body) @definition.class

(trait_item name: (type_identifier) @name body: (_) @body) @definition.class

(type_item name: (type_identifier) @name) @definition.type

(source_file (const_item name: (identifier) @name) @definition.constant)

(declaration_list (const_item name: (identifier) @name) @definition.constant)

(static_item name: (identifier) @name) @definition.constant

(mod_item name: (identifier) @name body: (_) @body) @definition.module

(macro_definition name: (identifier) @name) @definition.function

(impl_item type: (type_identifier) @name body: (_) @body) @scope

(impl_item type: (generic_type type: (type_identifier) @name) body: (_) @body) @scope

(impl_item type: (scoped_type_identifier name: (type_identifier) @name) body: (_) @body) @scope

(attribute_item) @attached

(use_declaration argument: (identifier) @import.module) @import

(use_declaration argument: (scoped_identifier path: (_) @import.module name: (identifier) @import.name)) @import

(use_as_clause path: (identifier) @import.module alias: (identifier) @import.alias) @import

(use_as_clause
  path: (scoped_identifier path: (_) @import.module name: (identifier) @import.name)
  alias: (identifier) @import.alias) @import

(use_wildcard (_) @import.module "*" @import.name) @import

(scoped_use_list path: (_) @import.module list: (use_list [(identifier) (self)] @import.name)) @import

(scoped_use_list
  path: (_) @import.module
  list: (use_list (scoped_identifier name: (identifier) @import.name))) @import

(scoped_use_list
  path: (_) @import.module
  list: (use_list (use_as_clause path: (identifier) @import.name alias: (identifier) @import.alias) @import)) @import.statement

(use_declaration) @import.whole

[(line_comment) (block_comment)] @comment

[(identifier) (field_identifier) (type_identifier)] @reference

(ERROR) @error
