(class_body (field_definition property: [(property_identifier) (private_property_identifier)] @name) @definition.variable)

(class_body
  (field_definition
    property: [(property_identifier) (private_property_identifier)] @name
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

(comment) @comment

[(identifier) (property_identifier) (shorthand_property_identifier)] @reference

(ERROR) @error
