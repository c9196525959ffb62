# Links firmware.c with the trainer that `bnnc compile --source source` wrote; BNNC_LIBRARY leaves out its own main.
exec arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 -std=gnu11 -ffp-contract=off -fno-math-errno \
  -fno-trapping-math -mno-unaligned-access -ffreestanding -ffunction-sections -fdata-sections -Wall -Wextra -DBNNC_LIBRARY -Isource \
  firmware.c source/digits_cortex_m.c -nostdlib -Wl,--gc-sections -Wl,-T,source/digits_cortex_m.ld -Wl,-Map,firmware.map -lgcc \
  -o firmware.elf
