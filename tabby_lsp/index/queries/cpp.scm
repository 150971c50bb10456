(function_definition declarator: (function_declarator declarator: (_) @name)) @definition.function

(field_declaration declarator: (function_declarator declarator: (_) @name)) @definition.function

(field_declaration declarator: (_ (function_declarator declarator: (_) @name))) @definition.function

(field_declaration declarator: (field_identifier) @name) @definition.variable

(class_specifier name: (_) @name body: (_) @body) @definition.class

(struct_specifier name: (_) @name body: (_) @body) @definition.class

(namespace_definition name: (_) @name body: (_) @body) @definition.module

(alias_declaration name: (type_identifier) @name) @definition.type

(concept_definition name: (identifier) @name) @definition.type

(namespace_definition
  body: (_ (declaration declarator: (init_declarator declarator: (identifier) @name)) @definition.variable))

(template_declaration) @outer

(comment) @comment

[(identifier) (field_identifier) (type_identifier) (namespace_identifier)] @reference

(ERROR) @error
