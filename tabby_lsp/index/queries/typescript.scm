(class_body (public_field_definition name: [(property_identifier) (private_property_identifier)] @name) @definition.variable)

(class_body
  (public_field_definition
    name: [(property_identifier) (private_property_identifier)] @name
    value: (_ body: (_) @body)) @definition.function)

(program (lexical_declaration "const" (variable_declarator name: (identifier) @name) @definition.constant))

(program (lexical_declaration "let" (variable_declarator name: (identifier) @name) @definition.variable))

(program (variable_declaration (variable_declarator name: (identifier) @name) @definition.variable))

(program
  (export_statement (lexical_declaration "const" (variable_declarator name: (identifier) @name) @definition.constant)))

(program
  (export_statement (lexical_declaration "let" (variable_declarator name: (identifier) @name) @definition.variable)))

(variable_declarator name: (identifier) @name value: (_ parameters: (_) body: (_) @body)) @definition.function

(variable_declarator name: (identifier) @name value: (arrow_function parameter: (_) body: (_) @body)) @definition.function

(variable_declarator name: (identifier) @name value: (class body: (_) @body)) @definition.class

(assignment_expression
  left: (member_expression property: (property_identifier) @name)
  right: (_ parameters: (_) body: (_) @body)) @definition.function

(export_statement) @outer

(decorator) @attached

(import_statement source: (string) @import.module) @import

(import_statement (import_clause (identifier) @import.name) source: (string) @import.module) @import

(import_statement
  (import_clause (named_imports (import_specifier !alias name: (_) @import.name)))
  source: (string) @import.module) @import

(import_statement
  (import_clause (named_imports (import_specifier name: (_) @import.name alias: (_) @import.alias) @import))
  source: (string) @import.module) @import.statement

(import_statement
  (import_clause (namespace_import (identifier) @import.alias) @import)
  source: (string) @import.module) @import.statement

(variable_declarator
  name: (identifier) @import.alias
  value: (call_expression
    function: (identifier) @import.function
    arguments: (arguments (string) @import.module))) @import

(variable_declarator
  name: (object_pattern (shorthand_property_identifier_pattern) @import.name)
  value: (call_expression
    function: (identifier) @import.function
    arguments: (arguments (string) @import.module))) @import

(import_statement) @import.whole

(abstract_class_declaration name: (_) @name body: (class_body) @body) @definition.class

(interface_declaration name: (_) @name body: (_) @body) @definition.class

(enum_declaration name: (_) @name body: (_) @body) @definition.class

(type_alias_declaration name: (_) @name) @definition.type

(internal_module name: (_) @name body: (_) @body) @definition.module

(module name: (identifier) @name body: (_) @body) @definition.module

(function_signature name: (_) @name) @definition.function

(method_signature name: (property_identifier) @name) @definition.function

(abstract_method_signature name: (property_identifier) @name) @definition.function

(property_signature name: (property_identifier) @name) @definition.variable

(ambient_declaration) @outer

(comment) @comment

[(identifier) (type_identifier) (property_identifier) (shorthand_property_identifier)] @reference

(ERROR) @error
