CC ?= cc
CFLAGS += -O2 -Wall
SOURCES := $(wildcard src/*.c)
OBJECTS := $(SOURCES:.c=.o)

.PHONY: all clean

all: program

program: $(OBJECTS)
	$(CC) $(CFLAGS) -o $@ $^
	@echo "made $@"

%.o: %.c
	$(CC) $(CFLAGS) -c -o $@ $<

ifeq ($(DEBUG),1)
CFLAGS += -g
endif

clean:
	rm -f $(OBJECTS)
	for each in $(SOURCES); do \
		echo $$each; \
	done
