(class_declaration name: (identifier) @name) @definition.class

(class_declaration name: (identifier) @name body: (_) @body) @definition.class

(struct_declaration name: (identifier) @name body: (_) @body) @definition.class

(interface_declaration name: (identifier) @name body: (_) @body) @definition.class

(enum_declaration name: (identifier) @name body: (_) @body) @definition.class

(record_declaration name: (identifier) @name) @definition.class

(record_declaration name: (identifier) @name body: (_) @body) @definition.class

; older
(record_struct_declaration name: (identifier) @name) @definition.class

(namespace_declaration name: (_) @name body: (_) @body) @definition.module

(delegate_declaration name: (identifier) @name) @definition.type

(method_declaration name: (identifier) @name) @definition.function

(method_declaration name: (identifier) @name body: (_) @body) @definition.function

(constructor_declaration name: (identifier) @name) @definition.function

(constructor_declaration name: (identifier) @name body: (_) @body) @definition.function

(local_function_statement name: (identifier) @name body: (_) @body) @definition.function

(property_declaration name: (identifier) @name) @definition.variable

(property_declaration name: (identifier) @name accessors: (_) @body) @definition.variable

(field_declaration (variable_declaration (variable_declarator . (identifier) @name))) @definition.variable

(using_directive (qualified_name) @import.module) @import

(using_directive . (identifier) @import.module .) @import

; older
(using_directive (name_equals (identifier) @import.alias)) @import

; newer
(using_directive name: (identifier) @import.alias) @import

(using_directive) @import.whole

(comment) @comment

(identifier) @reference

(ERROR) @error
