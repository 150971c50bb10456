(function_definition declarator: (function_declarator declarator: (_) @name) body: (_) @body) @definition.function

(function_definition declarator: (_ (function_declarator declarator: (_) @name)) body: (_) @body) @definition.function

(function_definition declarator: (_ (_ (function_declarator declarator: (_) @name))) body: (_) @body) @definition.function

(declaration declarator: (function_declarator declarator: (identifier) @name)) @definition.function

(declaration declarator: (pointer_declarator (function_declarator declarator: (identifier) @name))) @definition.function

(struct_specifier name: (type_identifier) @name body: (_) @body) @definition.class

(union_specifier name: (type_identifier) @name body: (_) @body) @definition.class

(enum_specifier name: (type_identifier) @name body: (_) @body) @definition.class

(type_definition type: (_ body: (_) @body) declarator: (type_identifier) @name) @definition.class

(type_definition declarator: (type_identifier) @name) @definition.type

(type_definition
  declarator: (function_declarator
    declarator: (parenthesized_declarator (pointer_declarator (type_identifier) @name)))) @definition.type

(preproc_def name: (identifier) @name) @definition.constant

(preproc_function_def name: (identifier) @name) @definition.function

(translation_unit (declaration declarator: (identifier) @name) @definition.variable)

(translation_unit (declaration declarator: (init_declarator declarator: (identifier) @name)) @definition.variable)

(translation_unit
  (declaration declarator: (init_declarator declarator: (_ declarator: (identifier) @name))) @definition.variable)

(preproc_include path: (_) @import.module) @import
