(comment) @comment

[(identifier) (field_identifier) (type_identifier)] @reference

(ERROR) @error
