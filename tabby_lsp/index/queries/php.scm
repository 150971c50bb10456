(function_definition name: (name) @name body: (_) @body) @definition.function

(class_declaration name: (name) @name body: (_) @body) @definition.class

(interface_declaration name: (name) @name body: (_) @body) @definition.class

(trait_declaration name: (name) @name body: (_) @body) @definition.class

(enum_declaration name: (name) @name body: (_) @body) @definition.class

(method_declaration name: (name) @name) @definition.function

(method_declaration name: (name) @name body: (_) @body) @definition.function

(const_declaration (const_element (name) @name)) @definition.constant

(property_declaration (property_element (variable_name (name) @name))) @definition.variable

(namespace_definition name: (_) @name body: (_) @body) @definition.module

(namespace_use_clause (qualified_name (name) @import.name) @import.module) @import

(namespace_use_clause (name) @import.module) @import

; older
(namespace_use_clause
  (qualified_name (name) @import.name) @import.module
  (namespace_aliasing_clause (name) @import.alias)) @import

; newer
(namespace_use_clause (qualified_name (name) @import.name) @import.module alias: (name) @import.alias) @import

; older
(namespace_use_declaration
  (namespace_name) @import.module
  (namespace_use_group (namespace_use_group_clause (namespace_name (name) @import.name)))) @import

; newer
(namespace_use_declaration
  (namespace_name) @import.module
  body: (namespace_use_group (namespace_use_clause (name) @import.name))) @import

[
  (include_expression (_) @import.module)
  (include_once_expression (_) @import.module)
  (require_expression (_) @import.module)
  (require_once_expression (_) @import.module)
] @import

(namespace_use_declaration) @import.whole

(comment) @comment

(name) @reference

(ERROR) @error
