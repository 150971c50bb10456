(method name: (_) @name @head) @definition.function

(method name: (_) @name parameters: (_) @head) @definition.function

(singleton_method name: (_) @name @head) @definition.function

(singleton_method name: (_) @name parameters: (_) @head) @definition.function

(class name: (_) @name @head) @definition.class

(class name: (_) @name superclass: (_) @head) @definition.class

(module name: (_) @name @head) @definition.module

(assignment left: (constant) @name) @definition.constant

(call
  method: (identifier) @import.function
  arguments: (argument_list . (string) @import.module .)) @import

(comment) @comment

[(identifier) (constant)] @reference

(ERROR) @error
