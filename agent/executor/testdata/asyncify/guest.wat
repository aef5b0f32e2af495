;; A program that calls grid.checkpoint at some depth of a recursion, round after round. What it writes depends on all
;; that a checkpoint keeps: locals in the middle of a call, a global, memory that grows, the random source.
;; guest.wasm is made of it by: wasm-opt -O2 --asyncify --pass-arg=asyncify-imports@grid.checkpoint guest.wat -o guest.wasm
(module
  (import "grid" "checkpoint" (func $checkpoint))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $sum (mut i64) (i64.const 1))
  (func $down (param $depth i32) (param $x i64) (result i64)
    (local $mine i64)
    (local.set $mine (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.extend_i32_u (local.get $depth))))
    (if (i32.eqz (local.get $depth))
      (then (call $checkpoint))
      (else (local.set $x (call $down (i32.sub (local.get $depth) (i32.const 1)) (local.get $mine)))))
    (global.set $sum (i64.rotl (i64.xor (global.get $sum) (local.get $mine)) (i64.const 7)))
    (i64.add (local.get $x) (local.get $mine)))
  (func (export "_start")
    (local $round i32) (local $x i64)
    (loop $next
      (drop (call $random (i32.const 16) (i32.const 8)))
      (if (i32.eqz (i32.rem_u (local.get $round) (i32.const 50)))
        (then (drop (memory.grow (i32.const 1)))))
      ;; The last word of the memory is where the frames are put for a while.
      (i64.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)) (i64.load (i32.const 16)))
      (local.set $x (call $down (i32.rem_u (local.get $round) (i32.const 7)) (i64.xor (local.get $x) (i64.load (i32.const 16)))))
      (i64.store (i32.const 24) (i64.xor (global.get $sum)
        (i64.load (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))))
      (i32.store (i32.const 0) (i32.const 24))
      (i32.store (i32.const 4) (i32.const 8))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $round) (i32.const 20000))))))
