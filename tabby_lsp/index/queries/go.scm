(function_declaration name: (identifier) @name) @definition.function

(function_declaration name: (identifier) @name body: (block) @body) @definition.function

(method_declaration name: (field_identifier) @name body: (block) @body) @definition.function

(method_declaration
  receiver: (parameter_list (parameter_declaration type: (type_identifier) @receiver))) @definition.function

(method_declaration
  receiver: (parameter_list
    (parameter_declaration type: (pointer_type (type_identifier) @receiver)))) @definition.function

(method_declaration
  receiver: (parameter_list
    (parameter_declaration type: (generic_type type: (type_identifier) @receiver)))) @definition.function

(method_declaration
  receiver: (parameter_list
    (parameter_declaration type: (pointer_type (generic_type type: (type_identifier) @receiver))))) @definition.function

(type_spec name: (type_identifier) @name type: (struct_type (field_declaration_list) @body)) @definition.class

(type_spec name: (type_identifier) @name type: (interface_type "{" @body)) @definition.class

(type_spec name: (type_identifier) @name) @definition.type

(type_alias name: (type_identifier) @name) @definition.type

; older
(method_spec name: (field_identifier) @name) @definition.function

; newer
(method_elem name: (field_identifier) @name) @definition.function

(source_file (const_declaration (const_spec name: (identifier) @name) @definition.constant))

(source_file (var_declaration (var_spec name: (identifier) @name) @definition.variable))

(source_file (var_declaration (var_spec name: (identifier) "," name: (identifier) @name) @definition.variable))

; newer
(source_file (var_declaration (var_spec_list (var_spec name: (identifier) @name) @definition.variable)))

(import_spec path: (_) @import.module) @import

(import_spec name: (_) @import.alias path: (_) @import.module) @import

(package_clause) @import.whole

(comment) @comment

; newer
(source_file
  (var_declaration
    (var_spec_list (var_spec name: (identifier) "," name: (identifier) @name) @definition.variable)))

[(identifier) (field_identifier) (type_identifier) (package_identifier)] @reference

(ERROR) @error
