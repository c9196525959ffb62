/* bnnc_dotprod_begin.h: from here to bnnc_end.h functions may multiply bytes (ARMv8.2), by assembly that the compiler need not
 * know, whatever the rest of the program is for. */
#define BNNC_LEVEL dotprod
#define BNNC_FOR_DOTPROD 1
