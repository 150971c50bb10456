(class_declaration name: (identifier) @name body: (_) @body) @definition.class

(interface_declaration name: (identifier) @name body: (_) @body) @definition.class

(enum_declaration name: (identifier) @name body: (_) @body) @definition.class

(record_declaration name: (identifier) @name body: (_) @body) @definition.class

(annotation_type_declaration name: (identifier) @name body: (_) @body) @definition.class

(method_declaration name: (identifier) @name) @definition.function

(method_declaration name: (identifier) @name body: (_) @body) @definition.function

(constructor_declaration name: (identifier) @name body: (_) @body) @definition.function

(field_declaration declarator: (variable_declarator name: (identifier) @name)) @definition.variable

(constant_declaration declarator: (variable_declarator name: (identifier) @name)) @definition.constant

(import_declaration (identifier) @import.module) @import

(import_declaration (scoped_identifier) @import.module) @import

(import_declaration (scoped_identifier name: (identifier) @import.name) .) @import

(import_declaration (asterisk) @import.name) @import

(package_declaration) @import.whole

(import_declaration) @import.whole

[(line_comment) (block_comment)] @comment

[(identifier) (type_identifier)] @reference

(ERROR) @error
