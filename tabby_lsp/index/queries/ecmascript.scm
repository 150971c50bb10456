(function_declaration name: (identifier) @name body: (_) @body) @definition.function

(generator_function_declaration name: (identifier) @name body: (_) @body) @definition.function

; older
(function name: (identifier) @name body: (_) @body) @definition.function

; newer
(function_expression name: (identifier) @name body: (_) @body) @definition.function

(class_declaration name: (_) @name body: (class_body) @body) @definition.class

(method_definition name: [(property_identifier) (private_property_identifier)] @name body: (_) @body) @definition.function
