// The built-in model as bytes of the binary. Paths are relative to this folder, which CMake puts on the
// assembler's search path; each file is aligned for its widest element and followed by its end label.
.macro embed name, path
  .balign 64
  .globl causeway_builtin_\name
  .globl causeway_builtin_\name\()_end
causeway_builtin_\name:
  .incbin "\path"
causeway_builtin_\name\()_end:
  .byte 0
.endm

.section .rodata
embed weights, fable/model.safetensors
embed config, fable/config.json
embed generation_config, fable/generation_config.json
embed tokenizer, fable/tokenizer.json
embed tokenizer_config, fable/tokenizer_config.json
embed valid, fable/eval/valid.txt
embed retrieval, fable/eval/retrieval.jsonl

.section .note.GNU-stack, "", @progbits
